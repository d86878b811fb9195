#!/bin/bash
# train_kill.sh TRAIN_TOY TRIALS - trainings killed at random moments end in the same bits as one
# that was left alone; a polite stop saves and says so.
set -u
export LK_THREADS=1
toy=$(realpath "$1")
trials=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
bad=0
fail() {
    echo "FAIL $*"
    bad=1
}
# What a run leaves, without the measurements of time and memory.
left() {
    cat "$1"/checkpoints/step_*.safetensors "$1/DONE" | cksum
    sed 's/,"samples_per_s".*//' "$1/log.jsonl"
}

start=$(date +%s%N)
"$toy" whole >whole.txt || fail "the undisturbed run"
whole_ms=$((($(date +%s%N) - start) / 1000000))
left whole >whole.left
[ "$(wc -l <whole/log.jsonl)" = 100 ] || fail "the log has not one line a step"

RANDOM=17
kills=0
for i in $(seq "$trials"); do
    runs=0
    until [ -e killed/DONE ]; do
        runs=$((runs + 1))
        [ $runs -gt 200 ] && break
        # The first tries are killed somewhere in their course, the later ones left alone.
        "$toy" killed >out.txt 2>err.txt &
        pid=$!
        if [ $runs -le 4 ]; then
            ms=$((RANDOM % (whole_ms * 3 / 4 + 1)))
            sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
            if kill -KILL $pid 2>/dev/null; then
                kills=$((kills + 1))
            else # others had left the processor to it: aim earlier
                whole_ms=$((whole_ms / 2 + 1))
            fi
        fi
        wait $pid 2>/dev/null
    done
    left killed >killed.left
    cmp -s whole.left killed.left || { fail "trial $i differs"; diff whole.left killed.left | head -5; }
    rm -rf killed
done
echo "$trials trainings, $kills kills"
[ "$kills" -ge $((trials / 2)) ] || fail "hardly a run was killed"

# A damaged newest checkpoint is named and the one before it used; a cut one likewise.
for damage in flip cut; do
    "$toy" hurt -steps 50 >out.txt || fail "the run to be hurt"
    rm -f hurt/DONE
    newest=$(ls hurt/checkpoints/*.safetensors | tail -n 1)
    if [ $damage = flip ]; then
        size=$(stat -c %s "$newest")
        printf '\x5a' | dd of="$newest" bs=1 seek=$((size - 100)) conv=notrunc status=none
    else
        truncate -s -1000 "$newest"
    fi
    "$toy" hurt -steps 50 >again.txt 2>err.txt || fail "the run after damage ($damage)"
    grep -q "'$newest' is .*tensor '.*going back" err.txt || fail "damage ($damage) is not named"
    cmp -s out.txt again.txt || fail "the result after damage ($damage) differs"
    rm -rf hurt
done

# Asked to stop: the step is finished and saved, 75, and the rest follows.
"$toy" stopped -slow 10 >out.txt 2>err.txt &
pid=$!
until [ -s stopped/log.jsonl ]; do sleep 0.05; done
kill -TERM $pid
wait $pid
code=$?
[ $code = 75 ] || fail "exit $code after SIGTERM"
grep -q 'resume it to go on' err.txt || fail "the stopped run does not say how to go on"
[ -e stopped/DONE ] && fail "a stopped run is not done"
"$toy" stopped >out.txt || fail "the run after the stop"
cmp -s out.txt whole.txt || fail "the stopped run ends elsewhere"
exit $bad
