#!/bin/bash
# train.sh FOLDER [LOCKSTEP] - a set of weights like weights/worlds-small from nothing: renders the worlds, trains both
# tokenizers and the joint model, and leaves FOLDER/weights. About five hours on two cores; what is there is kept,
# and what was interrupted goes on.
set -eu
[ $# -ge 1 ] || { sed -n '2,4s/^# \?//p' "$0"; exit 2; }
here=$(realpath "$(dirname "$0")")
lockstep=$(realpath "${2:-build/lockstep}")
mkdir -p "$1/weights" "$1/data"
cd "$1"

# Clips of about as many frames whatever the rate: a batch has room for the longest.
pack() { # WORLD NAME COUNT SEED SECONDS FPS
    "$lockstep" pack --world "$1" --count "$3" --seed "$4" --seconds "$5" --fps "$6" --size 64x64 -o "data/$1_$2.h5"
}
data= sounds=
for world in impacts talker dancer; do
    pack $world 25 700 1 2.56 25
    pack $world 30 100 2 2.12 30
    pack $world 50 60 3 1.28 50
    pack $world 24 40 4 2.56 23.976
    pack $world held 2 901 2.56 25
    data=$data,data/${world}_25.h5,data/${world}_30.h5,data/${world}_50.h5,data/${world}_24.h5
done
data="[${data#,}]"
held='[data/impacts_held.h5,data/talker_held.h5,data/dancer_held.h5]'

train() { # KIND RUN CONFIG SETTINGS...
    kind=$1 run=$2 config=$3
    shift 3
    [ -e "$run/DONE" ] || "$lockstep" train "$kind" --resume --config "$here/$config" "$@" -o "$run"
}
train vae vae vae.yaml "data=$data"
train codec codec codec.yaml "data=$data"
"$lockstep" convert vae/vae.safetensors --dtype bf16 -o weights/vae.safetensors
"$lockstep" convert codec/codec.safetensors --dtype bf16 -o weights/codec.safetensors

tokenizers="tokenizers.vae=weights/vae.safetensors tokenizers.codec=weights/codec.safetensors"
train joint joint joint.yaml "data=$data" "validation=$held" $tokenizers
"$lockstep" convert joint/joint.safetensors --dtype bf16 -o weights/joint.safetensors
