#!/bin/bash
# hostile.sh LOCKSTEP - what a careless or unlucky person does: no arguments, wrong ones, folders,
# empty, missing and unreadable files, a full disk, a closed pipe, places that cannot be written,
# Ctrl-C.  Each ends with the documented exit code, says why in a sentence and leaves nothing behind.
set -u
lockstep=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export TMPDIR="$dir/tmp"
mkdir "$TMPDIR"
chmod 755 "$dir"
cd "$dir" || exit 1
failed=0
fail() {
    echo "FAIL $*"
    failed=1
}
judge() { # CODE GOT WORDS...: code as documented, one to three lines of reason unless 0
    want=$1
    got=$2
    shift 2
    [ "$got" = "$want" ] || fail "exit $got, wanted $want: $*: $(head -n 3 err)"
    lines=$(grep -c . err)
    [ "$want" = 0 ] || { [ "$lines" -ge 1 ] && [ "$lines" -le 3 ]; } ||
        fail "$lines lines on stderr: $*: $(head -n 5 err)"
    grep -qiE '(^|[ =+-])nan|ERROR: |runtime error' out err && fail "$*: $(cat out err)"
}
run() { # CODE ARGUMENT...
    code=$1
    shift
    "$lockstep" "$@" >out 2>err </dev/null
    judge "$code" $? "$@"
}

"$lockstep" worlds impacts --count 1 --seed 5 --seconds 4 --size 160x120 --offset-ms 60 -o clips \
    2>/dev/null || fail "no clip to begin with"
clip=clips/impacts_5_00000.mp4
quick="--metric event:n_null=20:n_bootstrap=20"
run 0 score $clip $quick -o rows.jsonl --h5 curves.h5
mkdir folder
: >empty.mp4

# Nothing, nonsense, and things that are no clips.
for command in probe sync events fix stress compare report worlds bench; do
    run 2 $command
    run 2 $command --nonsense
    run 2 $command --nonsense=1 $clip
    run 0 $command --help
done
run 3 score
run 2 score --nonsense
run 2 nonsense
"$lockstep" >out 2>err </dev/null
[ $? = 2 ] && [ ! -s out ] && grep -q usage err || fail "no arguments at all"
run 2 doctor $clip
for command in probe sync events score stress "bench score"; do
    for bad in missing.mp4 empty.mp4 /dev/null; do
        run 1 $command $bad
    done
done
for command in probe sync events "bench score"; do
    run 1 $command folder
done
for command in score stress; do
    run 3 $command folder
done
for bad in missing.mp4 empty.mp4 folder; do
    run 1 fix $bad -o fixed.mp4
    run 1 score $clip $quick --reference $bad
    run 1 score --manifest $bad
done
run 2 bench nonsense $clip
run 2 fix $clip -o $clip
run 2 fix $clip -o fixed.nonsense
run 1 compare rows.jsonl folder
run 1 compare rows.jsonl $clip
run 3 compare rows.jsonl empty.mp4
run 1 report folder -o report
run 1 report rows.jsonl --h5 $clip -o report
run 2 worlds nonsense
run 2 worlds impacts --size 3x
run 2 worlds impacts --container nonsense

# Outputs that cannot be: found before the work is done.
for option in -o --csv --h5; do
    run 1 score $clip $quick $option folder
    [ -s out ] && fail "$option folder: measured before it is refused"
done
run 1 score $clip $quick --report $clip
[ -s out ] && fail "--report FILE: measured before it is refused"
run 1 report rows.jsonl -o $clip
run 1 worlds impacts -o $clip
if [ "$(id -u)" != 0 ]; then
    other=""
elif command -v setpriv >/dev/null && setpriv --reuid=65534 --clear-groups "$lockstep" --version \
    >/dev/null 2>&1; then
    other="setpriv --reuid=65534 --clear-groups env TMPDIR=/tmp"
else
    other=none
fi
if [ "$other" != none ]; then
    cp $clip secret.mp4
    mkdir shut closed
    chmod 000 secret.mp4 closed
    chmod 555 shut
    cp "$lockstep" "$dir/lockstep" # its own folder may be closed to others
    as_other() { # CODE ARGUMENT...
        code=$1
        shift
        $other "$dir/lockstep" "$@" >out 2>err </dev/null
        judge "$code" $? "as another user: $*"
    }
    for command in probe sync events score stress; do
        as_other 1 $command secret.mp4
    done
    as_other 1 score closed
    for option in "-o shut/x" "--csv shut/x" "--h5 shut/x" "--report shut/x"; do
        as_other 1 score $clip $quick $option
    done
    as_other 1 fix $clip -o shut/x.mp4
    as_other 1 worlds impacts -o shut/x
    as_other 1 report rows.jsonl -o shut/x
    chmod 755 secret.mp4 closed shut
fi

# A full disk: no file may grow beyond 16 KiB, and then beyond nothing.
full() { # KIB CODE ARGUMENT...
    kib=$1
    code=$2
    shift 2
    (
        trap '' XFSZ
        ulimit -f "$kib"
        exec "$lockstep" "$@" 2>&1 >/dev/null </dev/null
    ) | cat >err
    judge "$code" "${PIPESTATUS[0]}" "full disk: $*"
}
: >out
full 16 1 score $clip $quick --h5 full.h5
full 16 1 score $clip $quick --report full
full 16 1 fix $clip --offset-ms 60 -o full.mp4
full 16 1 worlds impacts --seconds 4 -o full
full 16 1 report rows.jsonl --h5 curves.h5 -o full
full 0 1 score $clip $quick -o full.jsonl
full 0 1 score $clip $quick --csv full.csv
[ -f full.mp4 ] && fail "a full disk leaves half a file under its name"

# Nobody listens.
for command in "probe $clip" "sync $clip --json" "score $clip $quick" "score $clip $quick --json" \
    "events $clip" "compare rows.jsonl rows.jsonl" doctor --help --version "score --list-metrics"; do
    "$lockstep" $command >/dev/full 2>err
    judge 1 $? "$command >/dev/full"
    "$lockstep" $command >&- 2>err
    judge 1 $? "$command >&-"
    (sleep 0.1 && exec "$lockstep" $command) 2>err | true
    judge 1 "${PIPESTATUS[0]}" "$command | true"
done
sum=$(md5sum rows.jsonl)
run 0 score $clip $quick -o again.jsonl
"$lockstep" score $clip $quick -o again.jsonl --json >&- 2>/dev/null
[ "$(md5sum <rows.jsonl)" = "$(md5sum <again.jsonl)" ] || fail "without stdout, rows are spoilt"
[ "$sum" = "$(md5sum rows.jsonl)" ] || fail "an input changed"

# Ctrl-C in the middle.
"$lockstep" worlds impacts --count 1 --seconds 30 --size 640x360 -o long 2>/dev/null
long=long/impacts_0_00000.mp4
stop() { # CODE ARGUMENT...: interrupted once after a moment
    code=$1
    shift
    timeout --foreground --preserve-status -s INT 0.4 "$lockstep" "$@" >out 2>err </dev/null
    got=$?
    [ $got = "$code" ] || fail "exit $got, wanted $code after Ctrl-C: $*"
}
many="$long $long $long $long $long $long"
stop 130 probe $many
stop 130 sync $many
stop 130 events $many
stop 130 stress $long
grep -q interrupted err || fail "stress does not say that it was interrupted"
stop 130 bench score $long
stop 130 score $many $quick --threads 1
stop 75 score $many $quick --threads 1 -o stopped.jsonl
grep -q -- --resume err || fail "score does not say how to go on"
run 0 score $many $quick --threads 1 -o stopped.jsonl --resume
stop 75 worlds impacts --count 9 --seconds 30 --size 640x360 -o stopped
[ -z "$(ls "$TMPDIR")" ] || fail "scratch files stay behind: $(ls "$TMPDIR")"
[ "$failed" = 0 ] && echo "hostile: all as expected"
exit $failed
