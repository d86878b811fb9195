#!/bin/bash
# weights.sh FUZZ_WEIGHTS WEIGHTS_SEEDS N [FIRST] - N mutations of weight files.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$2" "$dir"
"$1" "$dir" -n "$3" -first "${4:-0}"
