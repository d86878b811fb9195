#!/bin/bash
# train_mpi.sh TRAIN_TOY MPIRUN - two processes with half of every batch each learn what one with the
# whole batch does, and one goes on from what two have saved.
set -u
[ -x "${2:-}" ] && command -v jq >/dev/null || exit 77
toy=$(realpath "$1")
export LK_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export ASAN_OPTIONS=detect_leaks=0 # Open MPI keeps memory of its own to the end
two=("$2" -n 2 --oversubscribe "$toy")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
bad=0
fail() {
    echo "FAIL $*"
    bad=1
}
# The largest relative difference of two logs' losses, and whether it is below 1e-6.
compare() {
    jq -n --slurpfile a "$1/log.jsonl" --slurpfile b "$2/log.jsonl" '
        [range($a|length) | ($a[.].loss - $b[.].loss) / $a[.].loss | fabs] | max as $d
        | "\($a|length) and \($b|length) steps, losses differ by at most \($d)",
          (($a|length) == ($b|length) and $d < 1e-6)' -r >compare.txt
    head -n 1 compare.txt
    [ "$(tail -n 1 compare.txt)" = true ] || fail "$1 and $2 differ"
}

"$toy" one >/dev/null || fail "one process"
"${two[@]}" two >/dev/null 2>err.txt || { cat err.txt; fail "two processes"; }
compare one two

# The last steps again, by one process that finds what two have left.
rm two/DONE two/checkpoints/step_00000100.safetensors
"$toy" two >/dev/null || fail "one process after two"
compare one two

# Everyone stops when one fails.
mkdir broken
touch broken/checkpoints
timeout 60 "${two[@]}" broken 2>err.txt >/dev/null
code=$?
[ $code -ne 0 ] && [ $code -ne 124 ] || fail "exit $code when one process cannot save"
grep -q broken/checkpoints err.txt || fail "the failure is not named"
exit $bad
