#!/bin/bash
# fix.sh LOCKSTEP - a planted offset is removed and stays away; stress gets back what it injects.
set -u
lockstep=$1
command -v jq >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
say() { echo "FAIL $*"; failed=1; }
"$lockstep" worlds impacts --count 1 --seed 11 --seconds 8 --size 160x120 --offset-ms 120 -o "$dir" >/dev/null || say worlds
clip=$dir/impacts_11_00000.mp4
"$lockstep" fix "$clip" -o "$dir/fixed.mp4" --json | jq -e '(.offset_ms - 120 | fabs) < 10' >/dev/null || say "fix measured something else"
"$lockstep" sync "$dir/fixed.mp4" --json | jq -e '.trusted and (.offset_ms | fabs) < 3' >/dev/null || say "the fixed clip is not in time"
"$lockstep" fix "$clip" -o "$dir/fixed.mp4" 2>/dev/null && say "wrote over a file without --force"
"$lockstep" fix "$clip" -o "$clip" --force 2>/dev/null && say "changed a file in place"
"$lockstep" fix "$clip" -o "$dir/given.mp4" --offset-ms -40 >/dev/null || say "a given offset"
"$lockstep" sync "$dir/given.mp4" --json | jq -e '(.offset_ms - 160 | fabs) < 10' >/dev/null || say "the given offset did not arrive"
"$lockstep" stress "$clip" --json >"$dir/stress.json" || say "stress failed"
jq -e '(.slope - 1 | fabs) < 0.03 and (.bias_ms | fabs) < 3 and .n >= 12' "$dir/stress.json" >/dev/null ||
    { say "stress: $(jq -c 'del(.cases)' "$dir/stress.json")"; }
[ "$failed" = 0 ] && echo "fix and stress: as expected"
exit $failed
