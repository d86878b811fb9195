#!/bin/bash
# safetensors.sh FUZZ_SAFETENSORS N [FIRST] - N mutations of files with and without checksums.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
file() { # name, header, bytes of data
    printf "\\x$(printf %02x $((${#2} % 256)))\\x$(printf %02x $((${#2} / 256)))\\0\\0\\0\\0\\0\\0" >"$dir/$1"
    printf '%s' "$2" >>"$dir/$1"
    head -c "$3" /dev/zero >>"$dir/$1"
}
file a '{"__metadata__":{"format":"pt","n\u00e4me":"x\n\ud83c\udfb5"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[5],"data_offsets":[24,34]},"c":{"dtype":"U8","shape":[],"data_offsets":[34,35]}}   ' 35
file b '{"x":{"dtype":"I64","shape":[0,4],"data_offsets":[0,0]},"y":{"dtype":"F16","shape":[1,1,1,1,1,3],"data_offsets":[0,6]}}' 6
file c '{"__metadata__":{"xxh64":"0123456789abcdef 0123456789abcdef"},"x":{"dtype":"BOOL","shape":[9],"data_offsets":[0,9]}}' 9
file d '{}' 0
"$1" "$dir" -n "$2" -first "${3:-0}"
