#!/bin/bash
# worlds.sh LOCKSTEP - the command `worlds`: equal files for equal arguments, truth beside them that
# survives a stop, resuming, and one sentence with the right code for what cannot be.  Skips
# without jq.
set -u
lockstep=$1
command -v jq >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0
fail() {
    echo "FAIL $*"
    failed=1
}
run() { # exit code, arguments
    want=$1
    shift
    "$lockstep" "$@" >out 2>err
    code=$?
    [ $code = "$want" ] || { fail "exit $code, wanted $want: $*" && cat err; }
}
small="--seconds 2 --size 96x64 --seed 5"

# Equal bits for any number of encoder threads; truth has a line a clip and says what was asked.
run 0 worlds impacts --count 3 $small --offset-ms 40 --drift-ppm -100 --threads 1 -o one
run 0 worlds impacts --count 3 $small --offset-ms 40 --drift-ppm -100 --threads 2 -o two
diff -r one two >/dev/null || fail "thread count changes a file"
[ "$(wc -l <one/truth.jsonl)" = 3 ] || fail "lines of truth"
jq -es 'all(.offset_ms == 40 and .drift_ppm == -100 and .seed == 5 and (.caption | length) > 10 and
    all(.events[]; ((.sound_s - .picture_s * (1 - 1e-4) - 0.04) | fabs) < 1e-8))' \
    one/truth.jsonl >/dev/null || fail "truth"
[ "$(jq -r .clip one/truth.jsonl | tr '\n' ' ')" = \
    "impacts_5_00000.mp4 impacts_5_00001.mp4 impacts_5_00002.mp4 " ] || fail "names"

# A later part of the same run joins the folder; clips that are there stay untouched.
run 0 worlds impacts --count 2 $small --offset-ms 40 --drift-ppm -100 -o part
touch -d 2001-01-01 part/impacts_5_00000.mp4
run 0 worlds impacts --count 3 $small --offset-ms 40 --drift-ppm -100 -o part --resume
[ "$(date -r part/impacts_5_00000.mp4 +%Y)" = 2001 ] || fail "resume rewrote a clip"
diff -r one part >/dev/null || fail "resumed folder differs"
run 0 worlds impacts --count 2 $small --offset-ms 40 --drift-ppm -100 -o part --resume
diff -r one part >/dev/null || fail "a smaller count changes the order of truth"
run 2 worlds impacts --count 3 $small --offset-ms 50 -o part --resume
run 0 worlds impacts --index-from 7 --count 1 $small -o part
[ "$(wc -l <part/truth.jsonl)" = 4 ] || fail "a second run lost truth"

# Every world in every container, and a variable frame rate.
for world in talker dancer impacts; do
    run 0 worlds $world $small --container mkv --fps vfr --camera --clutter --noise --overlap -o w
    jq -es "map(select(.world == \"$world\")) | length == 1" w/truth.jsonl >/dev/null ||
        fail "truth of $world"
done
for container in mov webm ts avi ogg; do
    run 0 worlds impacts $small --container $container -o c
done
for control in silent static shuffled reversed; do
    run 0 worlds impacts $small --control $control -o "k_$control"
    jq -e 'all(.events[]; .picture_s == null or .sound_s == null)' "k_$control/truth.jsonl" \
        >/dev/null || fail "truth of $control"
done

# A stop leaves whole clips with their truth, and the rest can be made later.
"$lockstep" worlds impacts --count 400 --seconds 20 --seed 5 -o stop 2>err &
for _ in $(seq 200); do
    [ -e stop/impacts_5_00001.mp4 ] && break
    sleep 0.05
done
kill -INT $!
wait $!
code=$?
[ $code = 75 ] || { fail "a stopped run exits with $code" && cat err; }
ls stop/*.part >/dev/null 2>&1 && fail "a stopped run leaves a partial file"
[ "$(ls stop/*.mp4 | wc -l)" = "$(wc -l <stop/truth.jsonl)" ] || fail "truth of a stopped run"

# What cannot be: one sentence, nothing left.
refuse() { # words expected in the sentence, arguments
    words=$1
    shift
    run 2 "$@" -o bad
    grep -q "$words" err || { fail "no '$words' in: $(cat err)"; }
    [ -z "$(ls bad 2>/dev/null)" ] || fail "something left by: $*"
}
refuse "impacts" worlds impact
refuse "size" worlds impacts --size big
refuse "width" worlds impacts --size 4x4
refuse "seconds" worlds impacts --seconds 0
refuse "container" worlds impacts --container gif
refuse "aac" worlds impacts --container webm --acodec aac
refuse "control" worlds impacts --control loud
refuse "vfr" worlds impacts --fps quick
run 2 worlds
run 2 worlds impacts talker
run 0 worlds --help
grep -q "dancer" out || fail "help does not list the worlds"
: >file
run 1 worlds impacts $small -o file/below
exit $failed
