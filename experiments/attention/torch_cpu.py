#!/usr/bin/env python3
"""Attention forward on this CPU: ours beside PyTorch's, in one run.

    torch_cpu.py BENCH_KERNELS [--threads 2] [--repeats 9]

BENCH_KERNELS is the built program kernels/bench_kernels.  Cases: 16384 tokens that see 256 around
them, one head, against scaled_dot_product_attention with the same boolean mask and against
FlexAttention (torch.compile, create_block_mask); and all of 4096 tokens, four heads, against both
without a mask.  Head width 64, f32 and bf16.  Medians after a warm run; one JSON object a case.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

HALF = 128
CASES = [
    {"heads": 1, "n": 16384, "window": 2 * HALF},
    {"heads": 4, "n": 4096, "window": 0},
]


def in_window(b, h, q, k):
    return (k >= q - HALF) & (k < q + HALF)


def median_ms(call, repeats):
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def ours_ms(bench, case, threads):
    """bench_kernels' medians of the forward pass, by element type."""
    shape = "{heads}x{n}-{heads}x{n}x64 w {window}".format(**case)
    text = subprocess.run([bench, "attention:" + shape], check=True, text=True,
                          capture_output=True, env=dict(os.environ, LK_THREADS=str(threads))).stdout
    found = {}
    for line in text.splitlines():
        if line.startswith("attention ") and shape + " " in line + " ":
            fields = line.split(shape)[1].split()
            found[fields[0]] = float(fields[1])
    return found


def torch_ms(case, dtype, repeats, flex):
    n, heads = case["n"], case["heads"]
    q, k, v = (torch.randn(1, heads, n, 64, dtype=dtype) for _ in range(3))
    index = torch.arange(n)
    mask = block = None
    if case["window"]:
        mask = in_window(0, 0, index[:, None], index[None, :])
        block = create_block_mask(in_window, None, None, n, n, device="cpu")
    with torch.no_grad():
        sdpa = median_ms(lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
                         3 if case["window"] else repeats)
        flexed = median_ms(lambda: flex(q, k, v, block_mask=block), repeats)
        error = (flex(q, k, v, block_mask=block).float() -
                 F.scaled_dot_product_attention(q, k, v, attn_mask=mask).float()).abs().max().item()
    return sdpa, flexed, error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    flex = torch.compile(flex_attention)
    for case in CASES:
        ours = ours_ms(args.bench, case, args.threads)
        for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
            sdpa, flexed, error = torch_ms(case, dtype, args.repeats, flex)
            print(json.dumps({**case, "d": 64, "dtype": name, "threads": args.threads,
                              "ours_ms": round(ours[name], 3), "sdpa_ms": round(sdpa, 3),
                              "flex_ms": round(flexed, 3),
                              "sdpa_over_ours": round(sdpa / ours[name], 2),
                              "flex_over_ours": round(flexed / ours[name], 2),
                              "sdpa_flex_max_difference": error,
                              "torch": torch.__version__}), flush=True)


if __name__ == "__main__":
    main()
