#!/bin/bash
# threads.sh LOCKSTEP - the same bytes from one thread and from two, and from every repetition.
set -u
lockstep=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0
fail() {
    echo "FAIL $*"
    failed=1
}
same() { # FIRST OTHER WHAT
    [ -s "$1" ] && cmp -s "$1" "$2" || fail "$3 differs: $1 $2"
}
for n in 1 2; do
    for world in impacts talker dancer; do
        LK_THREADS=$n "$lockstep" worlds $world --count 1 --seed 5 --seconds 4 --size 160x120 \
            --offset-ms 60 --threads $n -o made$n 2>/dev/null || fail "worlds $world"
    done
done
for file in made1/*; do
    same "$file" "made2/${file#made1/}" "a clip by two threads"
done
ln -s made1 clips
all="--metric event:n_null=40:n_bootstrap=20:trust_p=1 --metric mouth:n_null=40 \
    --metric beat:n_null=40:n_bootstrap=20 --metric av_align"
for run in 1.1 1.2 2.1 2.2; do
    n=${run%.*}
    export LK_THREADS=$n
    "$lockstep" score clips $all --threads $n -o score.$run 2>/dev/null || fail "score"
    "$lockstep" score clips/impacts*.mp4 $all --threads $n -o one.$run 2>/dev/null || fail "score"
    for command in probe sync events; do
        "$lockstep" $command clips/impacts*.mp4 --json --threads $n >$command.$run || fail $command
    done
done
for what in score one probe sync events; do
    for run in 1.2 2.1 2.2; do
        same $what.1.1 $what.$run "$what"
    done
done
[ "$(wc -l <score.1.1)" = 3 ] || fail "a row for each of three clips"
grep -q '"event.offset_ms": *{' one.1.1 || fail "nothing was measured"
[ "$failed" = 0 ] && echo "threads: all the same"
exit $failed
