#!/bin/bash
# codes_mpi.sh CODES_TOY MPIRUN - the audio codec's codes follow both halves of a batch in two processes: they have the sums
# of one process with the whole batch, and the same bits in both where codes are born again.
set -u
[ -x "${2:-}" ] || exit 77
toy=$(realpath "$1")
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export ASAN_OPTIONS=detect_leaks=0 # Open MPI keeps memory of its own to the end
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
fail() {
    echo "FAIL $*"
    cat err.txt
    exit 1
}
"$toy" . 2>err.txt || fail "one process"
"$2" -n 2 --oversubscribe "$toy" . 2>err.txt || fail "two processes"
cmp -s 2_0.txt 2_1.txt || fail "two processes have different codes"
[ "$(head -n 1 1_0.txt)" = "$(head -n 1 2_0.txt)" ] || fail "codes of two processes are not those of one"
[ "$(tail -n 1 1_0.txt)" != "$(tail -n 1 2_0.txt)" ] || fail "no code was born again"
