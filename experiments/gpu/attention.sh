#!/bin/sh
# attention.sh OUT [STAGE...]: attention on a machine with an NVIDIA GPU, CUDA and, for `rivals`,
# PyTorch.  Builds kernels/ alone in build-gpu/ and keeps everything else in OUT.  Each stage takes
# less than ten minutes; all of them, in this order, when none is named:
#
#   check     every kernel of attention on the device against the definition in double
#   sanitize  compute-sanitizer's memcheck and racecheck over the small problems
#   ours      our times, forward and backward; lengths of 16384 to 262144 at one window
#   rivals    PyTorch's: SDPA through flash and cuDNN, FlexAttention with the same windows
#   table     ours beside theirs
#
# LK_BUILD: a build folder made elsewhere, for machines without FFTW or cmocka.
# LK_ATTENTION_TORCH="--device cpu --tiny" tries `rivals` without a GPU.
out=${1:?usage: attention.sh OUT [STAGE...]}
shift
here=$(dirname "$0")
cd "$here/../.." || exit 1
mkdir -p "$out" || exit 1
build=${LK_BUILD:-build-gpu}
command -v nvcc >/dev/null || PATH=$PATH:/usr/local/cuda/bin
stages=${*:-check sanitize ours rivals table}

compile() {
    [ -z "$LK_BUILD" ] || return 0
    cmake -S . -B "$build" -DLK_KERNELS_ONLY=ON >"$out/cmake.log" 2>&1 &&
        cmake --build "$build" -j "$(nproc)" --target test_attention bench_kernels >"$out/build.log" 2>&1 &&
        return
    tail -20 "$out/cmake.log" "$out/build.log" 2>/dev/null
    exit 1
}

report() { # label, log, rc
    if [ "$3" -eq 0 ]; then
        echo "$1: passed$(sed -n 's/^skipped: /, but without a GPU: /p' "$2" | head -1)"
    else
        echo "$1: FAILED"
        grep -E 'error|FAILED|ERROR|Race|kernel' "$2" | head -10
        failed=1
    fi
}

failed=0
for stage in $stages; do
    case $stage in
    check)
        compile
        "$build/tests/test_attention" --cuda >"$out/check.log" 2>&1
        report "attention, all problems" "$out/check.log" $?
        ;;
    sanitize)
        compile
        for tool in memcheck racecheck; do
            LK_TEST_PROBLEMS=6 compute-sanitizer --tool "$tool" --error-exitcode 9 \
                "$build/tests/test_attention" --cuda >"$out/$tool.log" 2>&1
            report "$tool" "$out/$tool.log" $?
        done
        ;;
    ours)
        compile
        "$build/kernels/bench_kernels" --backend cuda attention >"$out/ours.txt" 2>&1
        report "our times" "$out/ours.txt" $?
        ;;
    rivals)
        # shellcheck disable=SC2086 # options, several words
        python3 "$here/attention_torch.py" $LK_ATTENTION_TORCH >"$out/rivals.txt" 2>"$out/rivals.log"
        report "PyTorch's times" "$out/rivals.log" $?
        ;;
    table)
        python3 "$here/attention_table.py" "$out/ours.txt" "$out/rivals.txt" | tee "$out/table.txt"
        ;;
    *)
        echo "attention.sh: no stage '$stage'"
        exit 2
        ;;
    esac
done
exit $failed
