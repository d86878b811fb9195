#!/bin/sh
# engine.sh OUT [PART OF A NAME]: on a machine with an NVIDIA GPU, build kernels/ alone, test the
# CUDA backend and time its operations; the table comes last, everything is kept in OUT.
# LK_BUILD: a build folder made elsewhere, for machines without FFTW or cmocka; its libraries are
# looked for where LD_LIBRARY_PATH says.
out=${1:?usage: engine.sh OUT [PART OF A NAME]}
only=$2
cd "$(dirname "$0")/../.." || exit 1
mkdir -p "$out" || exit 1
build=${LK_BUILD:-$out/build}
command -v nvcc >/dev/null || PATH=$PATH:/usr/local/cuda/bin
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt" || exit 5
if [ -z "$LK_BUILD" ]; then
    cmake -S . -B "$build" -DLK_KERNELS_ONLY=ON >"$out/cmake.log" 2>&1 || { tail -20 "$out/cmake.log"; exit 1; }
    cmake --build "$build" -j "$(nproc)" >"$out/build.log" 2>&1 || { tail -20 "$out/build.log"; exit 1; }
fi
failed=0
for test in test_optim test_ops; do
    if "$build/tests/$test" --cuda >"$out/$test.log" 2>&1; then
        echo "$test: passed$(sed -n 's/^skipped: /, but without a GPU: /p' "$out/$test.log")"
    else
        echo "$test: FAILED"
        grep -E 'error|FAILED|cuda' "$out/$test.log" | head -10
        failed=1
    fi
done
# shellcheck disable=SC2086 # an absent name is no argument
"$build/kernels/bench_kernels" --backend cuda $only | tee "$out/ops.txt"
exit $failed
