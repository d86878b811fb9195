#!/bin/bash
# joint.sh LOCKSTEP - train the joint model on clips that went through tokenizers, go on after a stop, generate:
# lengths and rates are those that were asked for, the same seed gives the same file on 1 and 2 threads, and what
# makes no sense is refused in one sentence.
set -u
export OMP_WAIT_POLICY=PASSIVE
lockstep=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
fail() {
    echo "FAIL $*"
    [ -s err ] && cat err
    exit 1
}
$lockstep pack --world impacts --count 3 --seconds 0.6 --size 32x32 -o data.h5 2>err || fail "pack"
$lockstep train codec data=data.h5 model.width=16 model.latent_width=16 model.linear=8 model.bands=3 model.encoder_blocks=1 \
    model.decoder_blocks=1 model.latent_blocks=1 model.stages=2 model.entries=16 model.continuous=4 train.batch=2 \
    train.latents=8 train.steps=1 train.adversarial_steps=0 -o codec 2>err || fail "train codec"
$lockstep train vae data=data.h5 model.width1=8 model.width2=8 model.width3=8 model.encoder_blocks=1 \
    model.decoder_blocks=1 train.height=32 train.width=32 train.frames=5 train.batch=1 train.steps=1 -o vae 2>err ||
    fail "train vae"
tokenizers="tokenizers.vae=vae/checkpoints/step_00000001.safetensors tokenizers.codec=codec/codec.safetensors"
model="model.width=16 model.heads=2 model.blocks=2 model.text_blocks=1"
$lockstep train joint data=data.h5 $tokenizers $model model.audio_channels=5 train.steps=2 -o no 2>err
[ $? = 2 ] && grep -q model.audio_channels=4 err || fail "other channels"
$lockstep train joint data=data.h5 $tokenizers $model tokenizers.batch=2 train.steps=4 train.save_every=2 -o joint \
    2>err || fail "train joint"

# A run that lost its last step goes on and ends in the same bits, from the latents that are there.
cp -r joint again
rm -f again/DONE again/checkpoints/step_00000004.safetensors again/latents/000001.h5
$lockstep train joint --resume -o again 2>err || fail "resume"
cmp -s joint/checkpoints/step_00000004.safetensors again/checkpoints/step_00000004.safetensors ||
    fail "the resumed run differs"

all="--model joint/checkpoints/step_00000004.safetensors --vae vae/checkpoints/step_00000001.safetensors
    --codec codec/codec.safetensors --size 32x32 --steps 2"
printf '# two events\n0.3-0.4 s say ba\n0.10 s bounce metal\n' >script.txt
for fps in 23.976 25 30 50; do
    $lockstep generate $all --prompt "a ball" --script script.txt --seconds 0.7 --fps $fps -o out.mp4 2>err ||
        fail "generate at $fps"
    $lockstep probe out.mp4 --json >probe 2>err || fail "probe at $fps"
    python3 - "$fps" <<'PY' || fail "times at $fps"
import json, sys
p, o = json.load(open("probe")), json.load(open("out.json"))
fps = {"23.976": 24000 / 1001}.get(sys.argv[1], float(sys.argv[1]))
assert p["video"]["frames"] == round(0.7 * fps) == o["frames"], p
assert abs(p["video"]["end_s"] - o["frames"] / fps) < 1.1e-3, p
assert abs(p["audio"]["samples"] - 16000 * o["frames"] / fps) < 1, p
assert abs(p["audio_minus_video_start_ms"]) < 1.1, p
assert o["prompt"] == "a ball" and o["seed"] == "1" and len(o["model_xxh64"]) == 16
PY
done
for n in 1 2; do
    LK_THREADS=$n $lockstep generate $all --script script.txt --seconds 0.5 --text 2 --exchange 1.5 -o threads$n.mp4 \
        2>err || fail "generate on $n threads"
done
cmp -s threads1.mp4 threads2.mp4 || fail "the number of threads changes a clip"
$lockstep generate $all --seconds 0.04 -o short.mp4 2>err || fail "one frame"
[ -e short.mp4.latents.h5 ] && fail "latents are left behind"

# What is given: lengths and frames, and its latents to the bit; a stream that is given whole is in the file as it was.
world() { # fps
    $lockstep worlds impacts --count 1 --seed 4 --seconds 0.7 --fps $1 --size 32x32 -o given$1 2>err || fail "worlds"
    mv given$1/*.mp4 given$1.mp4
    $lockstep encode $weights --size 32x32 --mode continuous given$1.mp4 -o given$1.h5 2>err || fail "encode at $1"
}
weights="--vae vae/checkpoints/step_00000001.safetensors --codec codec/codec.safetensors"
world 30 # 21 frames: all latents are whole
world 25 # 18 frames, 11200 samples: the last ones are not
/usr/bin/python3 - <<'PY'
import math, struct, wave, zlib
with wave.open("given.wav", "wb") as w:
    w.setnchannels(1), w.setsampwidth(2), w.setframerate(16000)
    w.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i * i / 40000))) for i in range(11200)))
rows = b"".join(b"\0" + bytes(5 * x * (c == 0) or 7 * y for x in range(32) for c in range(3)) for y in range(32))
chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
open("given.png", "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0))
                              + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
PY
$lockstep encode --vae vae/checkpoints/step_00000001.safetensors given.png -o png.h5 2>err || fail "encode a picture"
task() { # name, frames, samples, held latents of picture and sound, arguments
    local name=$1 want="$2 $3 $4 $5"
    shift 5
    $lockstep generate $all "$@" --latents $name.h5 -o $name.mov 2>err || fail "generate $*"
    $lockstep probe $name.mov --json >probe 2>err || fail "probe $name"
    python3 - $name $want <<'PY' || fail "$name"
import json, sys
p, o = json.load(open("probe")), json.load(open(sys.argv[1] + ".json"))
frames, samples, pictures, sounds = map(int, sys.argv[2:])
assert p["video"]["frames"] == frames == o["frames"], p
assert p["audio"]["samples"] == samples == o["samples"], p
assert abs(p["audio_minus_video_start_ms"]) < 1.1, p
assert (o["video_latents_held"], o["audio_latents_held"]) == (pictures, sounds), o
PY
}
printf '1.95 s bounce metal\n' >far.txt
task for_audio 17 11200 0 18 --audio given.wav --fps 24
task for_video 21 11200 6 0 --video given30.mp4 --fps 24
task image 18 11520 1 0 --image given.png --seconds 0.7
task still 18 11200 1 18 --image given.png --audio given.wav
task longer30 63 33600 6 17 --extend given30.mp4 --seconds 2.1 --window 0.8 --context 0.3
task far 63 33600 6 17 --extend given30.mp4 --seconds 2.1 --window 0.8 --context 0.3 --script far.txt
task longer25 53 33920 5 17 --extend given25.mp4 --seconds 2.1 # 18 frames: 1, 4, 4, 4, 4, and 1 that is made again
task retake 21 11200 4 13 --retake given30.mp4 --from 0.2 --to 0.4
task dubbed 21 11200 6 13 --retake given30.mp4 --from 0.2 --to 0.4 --only audio
task mimed 21 11200 4 18 --retake given30.mp4 --from 0.5 --only video
task kept 21 11200 4 13 --retake given30.h5 --from 0.2 --to 0.4
task windows 53 33920 0 0 --seconds 2.1 --window 0.8
cmp -s kept.mov retake.mov || fail "kept latents are not what a clip gives"
[ -n "$(find . -name '*.given.h5' -o -name '*.latents.h5')" ] && fail "latents are left behind"
LK_THREADS=2 $lockstep generate $all --extend given30.mp4 --seconds 2.1 --window 0.8 --context 0.3 -o longer30.mov 2>err &&
    mv longer30.mov threads.mov && $lockstep decode $weights longer30.h5 -o longer30.mov 2>err || fail "extend on 2 threads"
cmp -s threads.mov longer30.mov || fail "kept latents, or the number of threads, change a clip"
python=/usr/bin/python3
if $python -c 'import h5py' 2>/dev/null; then
    for name in for_audio for_video; do
        $lockstep encode $weights --mode continuous $name.mov -o again_$name.h5 2>err || fail "encode $name"
    done
    $lockstep decode $weights given30.h5 -o copy.mov 2>err &&
        $lockstep encode $weights --mode continuous copy.mov -o copy.h5 2>err || fail "a tokenizer's copy"
    $lockstep encode $weights --mode continuous given.wav -o wav.h5 2>err || fail "encode a sound"
    $python - <<'PY' || fail "latents"
import h5py, json, numpy
VIDEO, AUDIO = "video", "audio"
read = lambda name, stream: h5py.File(name + ".h5")[stream + "/latents"][:]
def same(a, b, stream): # latent by latent, "#" for the same
    x, y = read(a, stream), read(b, stream)
    return "".join(".#"[int((p == q).all())] for p, q in zip(x, y))
assert same("for_audio", "wav", AUDIO) == 18 * "#"
assert same("for_video", "given30", VIDEO) == 6 * "#"
assert same("image", "png", VIDEO) == same("still", "png", VIDEO) == "#"
assert same("longer30", "given30", VIDEO) == 6 * "#"
assert same("longer30", "given30", AUDIO) == 17 * "#" + "."
assert same("longer25", "given25", VIDEO) == 5 * "#" + "."
assert same("retake", "given30", VIDEO) == "##..##"
assert same("retake", "given30", AUDIO) == same("dubbed", "given30", AUDIO) == 5 * "#" + 5 * "." + 8 * "#"
assert same("dubbed", "given30", VIDEO) == 6 * "#"
assert same("mimed", "given30", VIDEO) == "####.."
assert same("mimed", "given30", AUDIO) == 18 * "#"
# One grid: the times are those of a clip that was made at once.
for stream in VIDEO, AUDIO:
    assert (h5py.File("windows.h5")[stream + "/time"][:] == h5py.File("longer25.h5")[stream + "/time"][:]).all()
# An event far behind changes what is made near it, and nothing in the first window.
far = same("far", "longer30", AUDIO)
assert far[:27] == 27 * "#" and "." in far[40:], far
assert json.load(open("far.json"))["windows"] > 2
# Noise is not repeated from window to window.
x = read("windows", VIDEO)
apart = [numpy.linalg.norm(p - q) for i, p in enumerate(x) for q in x[:i]]
assert min(apart) > numpy.mean(apart) / 2, apart
# What is given whole is the source's, not the tokenizer's copy.
assert same("again_for_audio", "wav", AUDIO) == 18 * "#"
off = lambda name: abs(read(name, VIDEO) - read("given30", VIDEO)).mean()
assert off("again_for_video") < 0.7 * off("copy"), (off("again_for_video"), off("copy"))
PY
else
    echo "joint: h5py is missing, latents not compared"
fi

refuse() { # code, word of the sentence, arguments
    local code=$1 word=$2
    shift 2
    $lockstep generate "$@" -o never.mp4 2>err
    [ $? = "$code" ] && [ $(wc -l <err) -le 2 ] && grep -q -- "$word" err && [ ! -e never.mp4 ] || fail "accepted: $*"
}
$lockstep encode $weights --size 32x32 given30.mp4 -o both.h5 2>err || fail "encode"
echo '0.9 s too late' >late.txt
echo 'at noon, a bell' >noon.txt
refuse 2 seconds $all --seconds 0
refuse 2 outside $all --seconds 0.5 --script late.txt
refuse 1 'line 1' $all --script noon.txt
refuse 1 nowhere.txt $all --script nowhere.txt
refuse 1 --weights --weights nowhere
refuse 2 both $all --audio x --video x
refuse 2 --image $all --image x --video x
refuse 2 'one of' $all --extend x --retake x
refuse 2 --retake $all --from 0.2
refuse 2 --window $all --context 0.2
refuse 1 'no picture' $all --image given.wav
refuse 1 'no picture' $all --extend given.wav --seconds 2
refuse 1 'no sound' $all --retake given.png
refuse 1 'no sound' $all --audio given.png
refuse 1 none.mp4 $all --extend none.mp4 --seconds 2
refuse 2 '0.7 s long' $all --extend given30.mp4 --seconds 0.7
refuse 2 'too little' $all --extend given30.mp4 --seconds 2 --window 0.3
refuse 2 'no part' $all --retake given30.mp4 --from 0.4 --to 0.3
refuse 2 'no part' $all --retake given30.mp4 --from 0.4 --to 0.8
refuse 2 32x32 $all --retake given30.h5 --size 48x32
refuse 2 continuous $all --retake both.h5
refuse 1 'nothing of a sound' $all --extend png.h5 --seconds 2
refuse 1 data.h5 $all --extend data.h5 --seconds 2
refuse 2 even $all --video given30.mp4 --size 33x31
refuse 1 joint --model codec/codec.safetensors --vae vae/checkpoints/step_00000001.safetensors \
    --codec codec/codec.safetensors
echo OK
