#!/bin/bash
# joint_train.sh LOCKSTEP [MPIRUN] - what surrounds the training of the joint model: clips that are held out are measured
# and sampled without a trace in the weights, a run that goes on leaves the same pictures and numbers, and two processes
# share latents and batches.
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
# Do the tensors of two files agree to the bit?
cat >same.py <<'PY'
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__", None)
    return {k: data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]] for k, v in head.items()}
a, b = map(tensors, sys.argv[1:])
sys.exit(a != b or len(a) < 10)
PY
$lockstep pack --world impacts --count 3 --seconds 0.6 --size 32x32 -o data.h5 2>err || fail "pack"
$lockstep pack --world impacts --count 5 --seconds 0.9 --seed 9 --size 32x32 -o other.h5 2>err || fail "pack"
$lockstep train codec data=data.h5 model.width=16 model.latent_width=16 model.linear=8 model.bands=3 \
    model.encoder_blocks=1 model.decoder_blocks=1 model.latent_blocks=1 model.stages=2 model.entries=16 \
    model.continuous=4 train.batch=2 train.latents=8 train.steps=1 train.adversarial_steps=0 -o codec 2>err ||
    fail "train codec"
$lockstep train vae data=data.h5 model.width1=8 model.width2=8 model.width3=8 model.encoder_blocks=1 \
    model.decoder_blocks=1 train.height=32 train.width=32 train.frames=5 train.batch=1 train.steps=1 -o vae 2>err ||
    fail "train vae"
common="data=data.h5 tokenizers.vae=vae/checkpoints/step_00000001.safetensors tokenizers.codec=codec/codec.safetensors
    tokenizers.batch=2 model.width=16 model.heads=2 model.blocks=2 model.text_blocks=1 train.save_every=2"
looking="validation=[other.h5] train.validate_every=2 train.sample_every=2 samples.steps=2"
last=checkpoints/step_00000004.safetensors

$lockstep train joint $common train.steps=4 -o alone 2>err || fail "train alone"
$lockstep train joint $common $looking train.steps=4 -o seen 2>err || fail "train with clips held out"
python3 same.py alone/$last seen/$last || fail "looking on changes the weights"
[ "$(grep -c '"valid_audio_flow_75_100":' seen/log.jsonl)" = 2 ] || fail "losses of clips held out"
grep -aq valid_video_flow_0_25 seen/events.out.tfevents.lockstep || fail "losses for TensorBoard"
python3 - seen/samples/given.png seen/samples/step_00000002.png seen/samples/step_00000004.png <<'PY' || fail "pictures"
import struct, sys, zlib
def pixels(path):
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    size = struct.unpack(">II", data[16:24])
    at, body = 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        body += data[at + 8:at + 8 + n] if kind == b"IDAT" else b""
        at += 12 + n
    return size, zlib.decompress(body)
(size, given), (_, first), (_, second) = map(pixels, sys.argv[1:])
# Four rows of 80 pixels of frames, 8 of marks, 192 of sound, 10 between them.
assert size == (1440, 4 * (80 + 8 + 192 + 10)), size
assert len(given) == len(first) == (1 + 3 * 1440) * size[1]
assert given != first and first != second
PY

cp -r seen again
rm -f again/DONE again/$last again/samples/step_00000004.png again/validation/000001.h5
$lockstep train joint --resume -o again 2>err || fail "resume"
cmp -s seen/$last again/$last || fail "the resumed run differs"
cmp -s seen/samples/step_00000004.png again/samples/step_00000004.png || fail "its pictures differ"
numbers() { sed 's/,"samples_per_s".*//' "$1/log.jsonl"; }
[ "$(numbers seen)" = "$(numbers again)" ] || fail "its log differs"

# Two processes with half of every batch each, and one folder of latents.
if [ -x "${2:-}" ]; then
    half=${common/tokenizers.batch=2/tokenizers.batch=1}
    LK_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
        ASAN_OPTIONS=detect_leaks=0 "$2" -n 2 --oversubscribe $lockstep train joint $half train.steps=4 \
        train.log_every=1 -o two 2>err || fail "train by two"
    [ "$(ls two)" = "$(ls alone)" ] && [ "$(ls two/latents)" = "$(ls alone/latents)" ] || fail "what two leave"
    $lockstep train joint $common train.steps=4 train.log_every=1 -o one 2>err || fail "train by one"
    python3 - <<'PY' || fail "losses of two processes"
import json
one, two = [[json.loads(line)["loss"] for line in open(f"{run}/log.jsonl")] for run in ("one", "two")]
assert len(one) == len(two) == 4 and all(abs(a - b) < 1e-5 * a for a, b in zip(one, two)), (one, two)
PY
else
    echo "joint_train: no mpirun: not trained by two processes"
fi

# In parts, and with clips that say nothing about themselves.
parts="train.steps=4 train.crop_latents=2 train.unlabelled=0.5 data=[data.h5,plain.h5]"
$lockstep worlds impacts --count 1 --seed 3 --seconds 0.7 --size 32x32 -o films 2>err || fail "worlds"
rm -f films/truth.jsonl
$lockstep pack --size 32x32 films -o plain.h5 2>err || fail "pack films"
$lockstep train joint $common train.steps=4 train.crop_latents=100 -o long 2>err || fail "train with long parts"
python3 same.py alone/$last long/$last || fail "parts that are longer than the clips change something"
$lockstep train joint $common $parts -o parts 2>err || fail "train with parts"
cp -r parts torn
rm -f torn/DONE torn/$last
$lockstep train joint --resume -o torn 2>err || fail "resume parts"
cmp -s parts/$last torn/$last || fail "the resumed parts differ"
for share in 0.5 1; do
    $lockstep train joint $common train.steps=1 train.unlabelled=$share -o never 2>err
    [ $? = 2 ] && grep -q unlabelled err || fail "accepted unlabelled=$share of labelled clips"
    rm -rf never
done

# In stages, the last of them after a stop.
stages="train.image_steps=2 train.video_steps=2 train.image_batch=4 train.steps=6 train.log_every=1 train.keep=0"
$lockstep train joint $common $stages -o staged 2>err || fail "train in stages"
[ "$(grep -c audio_flow staged/log.jsonl)" = 2 ] && grep -q '"samples":12,' staged/log.jsonl || fail "stages"
cp -r staged stopped
rm -f stopped/DONE stopped/checkpoints/step_00000006.safetensors
$lockstep train joint --resume -o stopped 2>err || fail "resume stages"
cmp -s staged/checkpoints/step_00000006.safetensors stopped/checkpoints/step_00000006.safetensors ||
    fail "the resumed stages differ"
$lockstep train joint $common train.image_steps=2 train.steps=1 -o never 2>err
[ $? = 2 ] && grep -q image_steps err || fail "accepted more steps in stages than there are"

rm -rf never
$lockstep train joint $common validation=[nowhere.h5] train.steps=1 -o never 2>err
[ $? = 1 ] && grep -q nowhere.h5 err || fail "accepted a data set that is not there"

# Where the streams look: numbers, a file and a picture, the same on 1 and 2 threads.
look="attention --model alone/$last --vae vae/checkpoints/step_00000001.safetensors --codec codec/codec.safetensors"
for n in 1 2; do
    LK_THREADS=$n $lockstep $look --data data.h5 --data other.h5 --clips 4 --levels 0.2,1 --json -o look$n.h5 \
        --png look$n.png >look$n.json 2>err || fail "attention"
done
cmp -s look1.json look2.json && cmp -s look1.png look2.png || fail "the number of threads changes where streams look"
python3 - <<'PY' || fail "numbers of attention"
import json
rows = [json.loads(line) for line in open("look1.json")]
looks, losses = [r for r in rows if "looks" in r], [r for r in rows if "loss" in r]
assert [r["level"] for r in losses] == [0.2, 0.2, 1, 1] and len(looks) == 6 * 2, rows
for r in looks:
    assert 0 < r["mass_near"] < 1 and 0 < r["chance_near"] < 1 and 0 < r["share_of_tokens"] <= 1, r
for r in losses:
    shares = sum(v for k, v in r.items() if k.startswith("share_"))
    assert abs(shares - 1) < 1e-9 and r["gradient_norm"] > 0, r
PY
python=/usr/bin/python3
$python -c 'import h5py' 2>/dev/null || python=python3
if $python -c 'import h5py' 2>/dev/null; then
    $python - <<'PY' || fail "h5py"
import h5py
with h5py.File("look1.h5", "r") as f:
    assert f.attrs["format"].decode() == "lockstep-attention-1" and len(f.attrs["model_xxh64"]) == 16
    for name in ("video_itself", "audio_from_video", "video_from_script"):
        g = f[name]
        assert g["mass"].shape == (2, 2, 2, 101) and g["mass"].dims[3][0] == f["lag_ms"]
        total = g["mass"][:].sum(-1) + g["beyond"][:].sum(-1)
        assert abs(total - 1).max() < 1e-9, name
    assert f["gradient/share"].shape == (2, 2, 2, 2, 5) and f["lag_ms"].attrs["unit"].decode() == "ms"
PY
    # Prompts as vectors that another encoder made.
    $python - <<'PY' || fail "vectors"
import h5py, numpy
with h5py.File("data.h5") as f:
    captions = sorted({c.decode() for c in f["clips/caption"][:]}) if "clips/caption" in f else None
names = []
if captions is None:
    h5py.File("data.h5").visit(names.append)
    raise SystemExit(f"no captions among {names}")
with h5py.File("vectors.h5", "w") as f:
    f["caption"] = numpy.array(captions, dtype=h5py.string_dtype())
    f["length"] = numpy.full(len(captions), 2, "int32")
    f["embedding"] = numpy.random.default_rng(1).normal(size=(len(captions), 3, 5)).astype("float16")
open("caption", "w").write(captions[0])
PY
    $lockstep train joint $common tokenizers.embeddings=vectors.h5 train.steps=2 -o vectors 2>err || fail "train by vectors"
    made="--model vectors/joint.safetensors --vae vae/vae.safetensors --codec codec/codec.safetensors --size 32x32
        --seconds 0.4 --steps 2"
    $lockstep generate $made --embeddings vectors.h5 --prompt "$(cat caption)" -o vectors.mp4 2>err || fail "generate"
    for without in "--prompt x" "--embeddings vectors.h5 --prompt x"; do
        $lockstep generate $made $without -o never.mp4 2>err
        [ $? = 2 ] && grep -q vectors err && [ ! -e never.mp4 ] || fail "accepted: $without"
    done
else
    echo "joint_train: h5py is missing: look1.h5 is not read back, no prompts as vectors"
fi
$lockstep $look data.h5 --levels 0.5,0 2>err
[ $? = 2 ] && grep -q levels err || fail "accepted a level of 0"
$lockstep $look -o never.h5 2>err
[ $? = 2 ] && [ ! -e never.h5 ] || fail "accepted no dataset"
$lockstep $look data.h5 -o nowhere/look.h5 2>err
[ $? = 1 ] && grep -q nowhere err || fail "wrote into a folder that is not there"
echo OK
