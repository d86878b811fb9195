#!/bin/bash
# tokenizers.sh LOCKSTEP - train, encode, decode: times and lengths come back at every rate, latents do not
# depend on threads, a stopped training ends in the same bits, wrong weights are refused.
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
sound="model.width=16 model.latent_width=16 model.encoder_blocks=1 model.decoder_blocks=1
    model.latent_blocks=1 model.stages=2 model.entries=16 model.continuous=4 train.batch=2 train.latents=8
    train.warmup=1 train.log_every=1"
picture="model.width1=8 model.width2=8 model.width3=8 model.encoder_blocks=1 model.decoder_blocks=1
    train.height=32 train.width=32 train.frames=5 train.batch=1 train.warmup=1 train.log_every=1"
$lockstep pack --world talker --count 2 --seconds 1 --size 32x32 -o data.h5 2>err || fail "pack"
$lockstep train codec data=data.h5 $sound train.steps=3 train.save_every=1 -o codec 2>err || fail "train codec"
$lockstep train vae data=data.h5 $picture train.steps=3 train.save_every=1 -o vae 2>err || fail "train vae"
[ -f codec/DONE ] && [ -f vae/DONE ] || fail "no DONE"
codec=codec/codec.safetensors
vae=vae/checkpoints/step_00000003.safetensors

# A run that lost its last step goes on and ends in the same bits; other settings are refused.
for what in codec vae; do
    cp -r $what again
    rm -f again/DONE again/codec.safetensors again/checkpoints/step_00000003.safetensors
    $lockstep train $what --resume -o again 2>err || fail "resume $what"
    cmp -s $what/checkpoints/step_00000003.safetensors again/checkpoints/step_00000003.safetensors ||
        fail "resumed $what differs"
    $lockstep train $what --resume -o again train.steps=9 2>err && fail "other settings accepted"
    rm -r again
done
$lockstep train vae data=data.h5 -o vae 2>err
[ $? = 2 ] && grep -q -- --resume err || fail "a run is overwritten"
$lockstep train vae data=data.h5 train.stepz=3 -o no 2>err
[ $? = 2 ] && grep -q steps err || fail "an unknown setting"

# Frames, samples and times come back.
both="--vae $vae --codec $codec"
for fps in 23.976 25 29.97 30 60 vfr; do
    $lockstep worlds impacts --count 1 --seed 4 --seconds 0.7 --fps $fps --size 36x28 --container mkv --vcodec ffv1 \
        --acodec pcm -o w$fps 2>err || fail "worlds $fps"
    clip=$(echo w$fps/*.mkv)
    $lockstep encode $clip $both -o $fps.h5 2>err || fail "encode $fps"
    $lockstep decode $fps.h5 $both -o $fps.mkv --vcodec ffv1 --acodec pcm --json >counts 2>err || fail "decode $fps"
    for f in $clip $fps.mkv; do
        ffprobe -v error -select_streams v -show_entries frame=pts_time -of csv=p=0 $f >times.$(basename $f)
    done
    cmp -s times.$(basename $clip) times.$fps.mkv || fail "times at $fps"
    $lockstep probe $fps.mkv --json >probe || fail "probe"
    grep -q '"samples": 11200' probe || fail "samples at $fps: $(cat probe)"
done
LK_THREADS=1 $lockstep encode w25/*.mkv $both -o one.h5 2>err || fail "one thread"
h5diff 25.h5 one.h5 /video/latents 2>/dev/null || fail "one thread, other latents"
h5diff 25.h5 one.h5 /audio 2>/dev/null || fail "one thread, other sound"

# One frame, one sample.
for n in 1 2 3; do
    ffmpeg -v error -y -i w25/*.mkv -frames:v $n -an one$n.mkv && $lockstep encode one$n.mkv --vae $vae -o one.h5 2>err ||
        fail "$n frames"
    $lockstep decode one.h5 --vae $vae -o back.mkv --vcodec ffv1 2>err || fail "decode $n frames"
    [ "$(ffprobe -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 back.mkv)" = $n ] ||
        fail "$n frames are not $n"
done
ffmpeg -v error -y -f lavfi -i anoisesrc=r=16000 -af atrim=end_sample=1 one.wav
$lockstep encode one.wav --codec $codec -o one.h5 2>err || fail "one sample"
$lockstep decode one.h5 --codec $codec -o back.mkv --acodec pcm 2>err || fail "decode one sample"
$lockstep probe back.mkv --json | grep -q '"samples": 1,' || fail "one sample is not one"

# In half the bytes they are tokenizers still.
$lockstep convert $vae -o half.safetensors --dtype bf16 2>err && $lockstep encode w25/*.mkv --vae half.safetensors -o half.h5 2>err ||
    fail "bf16: $(cat err)"

# How fast they are.
for what in "--vae $vae" "--codec $codec"; do
    $lockstep bench tokenizers $what --size 32x32 --seconds 1 --runs 1 --json >rows || fail "bench tokenizers $what"
    grep -q '"rate": [0-9.]*[1-9]' rows && grep -q '"live_ms": [0-9.]*[1-9]' rows || fail "bench tokenizers $what: $(cat rows)"
done

# What does not fit is refused in a sentence.
refuse() { # CODE WORD ARGUMENT...
    code=$1 word=$2
    shift 2
    $lockstep "$@" 2>err
    got=$?
    [ $got = "$code" ] && grep -qi "$word" err && [ "$(grep -c . err)" -le 2 ] || fail "exit $got, not $code: $*"
}
refuse 2 "not made by" decode 25.h5 --vae $codec -o no.mkv
refuse 1 "HDF5" decode w25/truth.jsonl $both -o no.mkv
refuse 1 "cannot" encode none.mkv $both -o no.h5
refuse 2 "tokenizer\|--vae" encode w25/*.mkv -o no.h5
refuse 1 "video tokenizer\|codec\|config" encode w25/*.mkv --vae $codec -o no.h5
head -c 2000 $vae >cut.safetensors
refuse 1 "cut.safetensors" encode w25/*.mkv --vae cut.safetensors -o no.h5
refuse 2 "size" bench tokenizers --size 0x32
ls no.* >/dev/null 2>&1 && fail "something is left behind"
echo "tokenizers: all as expected"
