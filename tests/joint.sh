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
$lockstep train joint data=data.h5 $tokenizers $model train.steps=2 -o no 2>err
[ $? = 2 ] && grep -q model.audio_channels=4 err || fail "other channels"
model="$model model.audio_channels=4"
$lockstep train joint data=data.h5 $tokenizers $model tokenizers.batch=2 train.steps=4 train.save_every=2 -o joint \
    2>err || fail "train joint"

# A run that lost its last step goes on and ends in the same bits, from the latents that are there.
cp -r joint again
rm -f again/DONE again/checkpoints/step_00000004.safetensors again/latents0/000001.h5
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

# A sound for a picture and a picture for a sound have its length, and its frames.
$lockstep worlds impacts --count 1 --seed 4 --seconds 0.7 --fps 30 --size 32x32 -o given 2>err || fail "worlds"
clip=$(ls given/*.mp4)
for what in audio video; do
    $lockstep generate $all --$what "$clip" --fps 24 -o for_$what.mp4 2>err || fail "generate --$what"
    $lockstep probe for_$what.mp4 --json >probe 2>err || fail "probe for $what"
    python3 - "$what" <<'PY' || fail "times for $what"
import json, sys
p = json.load(open("probe"))
frames, samples = {"audio": (17, 11200), "video": (21, 11200)}[sys.argv[1]]
assert p["video"]["frames"] == frames and abs(p["audio"]["samples"] - samples) < 2, p
assert abs(p["audio_minus_video_start_ms"]) < 1.1, p
PY
done
[ -e for_audio.mp4.given.h5 ] && fail "latents of what is given are left behind"

refuse() { # code, word of the sentence, arguments
    local code=$1 word=$2
    shift 2
    $lockstep generate "$@" -o never.mp4 2>err
    [ $? = "$code" ] && grep -q -- "$word" err && [ ! -e never.mp4 ] || fail "accepted: $*"
}
echo '0.9 s too late' >late.txt
echo 'at noon, a bell' >noon.txt
refuse 2 seconds $all --seconds 0
refuse 2 outside $all --seconds 0.5 --script late.txt
refuse 1 'line 1' $all --script noon.txt
refuse 1 nowhere.txt $all --script nowhere.txt
refuse 2 --model --vae x --codec y
refuse 2 both $all --audio x --video x
refuse 1 joint --model codec/codec.safetensors --vae vae/checkpoints/step_00000001.safetensors \
    --codec codec/codec.safetensors
echo OK
