#!/usr/bin/env python3
"""PyTorch's attention at the shapes of bench_kernels (kernels/bench/attention.c), bf16.

    attention_torch.py [--device cuda] [--tiny] [--repeats 15]

All keys: scaled_dot_product_attention through its flash and its cuDNN backend; windows:
FlexAttention with a block mask that opens the same pairs (and without one for all keys).  Medians of
device events, forward, and backward alone.  One line a case and rival:

    SHAPE <tab> RIVAL <tab> FORWARD_MS <tab> BACKWARD_MS <tab> DIFFERENCE

where SHAPE is bench_kernels' own, and DIFFERENCE the relative one from float32 for the first 256
queries of the first head.  --tiny takes small shapes, --device cpu the clock.
"""
import argparse
import re
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

CASES = [
    "16x16384-16x16384x64 w 0", "16x16384-16x16384x128 w 0",
    "16x16384-16x16384x64 w 256", "16x16384-16x16384x64 w 2048", "16x16384-16x16384x64 w 4096",
    "16x16384-16x16384x128 w 256", "16x16384-16x16384x128 w 2048", "16x16384-16x16384x128 w 4096",
    "4x16384-4x16384x128 w 2048", "4x65536-4x65536x128 w 2048", "4x262144-4x262144x128 w 2048",
    "16x65536-4x2048x64 w 50",
]
TINY = ["2x256-2x256x64 w 0", "2x256-2x256x64 w 64", "4x512-2x64x64 w 10"]


class Case:
    def __init__(self, shape):
        numbers = [int(x) for x in re.findall(r"\d+", shape)]
        self.shape = shape
        self.heads, self.n, self.kv_heads, self.m, self.d, self.window = numbers

    def sees(self, q, k):
        """bench_kernels' window, in steps of a query: keys are n / m steps long."""
        step = self.n // self.m
        half = step * self.window // 2
        return ((k + 1) * step > q - half) & (k * step < q + half)


def median_ms(call, device, repeats, before=lambda: None):
    times = []
    for i in range(repeats + 2):
        before()
        if device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        else:
            start = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def exact_rows(case, q, k, v, rows):
    """The first rows of the first head in float32."""
    s = q[0, 0, :rows].float() @ k[0, 0].float().T / case.d ** 0.5
    if case.window:
        index = torch.arange(rows, device=q.device)[:, None]
        s = s.masked_fill(~case.sees(index, torch.arange(case.m, device=q.device)[None]), -torch.inf)
    return torch.softmax(s, -1) @ v[0, 0].float()


def rivals_of(case, device, compiled):
    share = {"enable_gqa": True} if case.heads != case.kv_heads else {}

    def flex(q, k, v):
        return compiled(q, k, v, block_mask=mask, **share)

    def through(backend):
        def call(q, k, v):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, **share)
        return call

    mask = None
    if case.window:
        mask = create_block_mask(lambda b, h, q, k: case.sees(q, k), None, None, case.n, case.m,
                                 device=device, _compile=device == "cuda")
    else:
        yield "sdpa flash", through(SDPBackend.FLASH_ATTENTION)
        if device == "cuda":
            yield "sdpa cudnn", through(SDPBackend.CUDNN_ATTENTION)
    yield "flex", flex


def measure(case, call, device, repeats):
    q = torch.randn(1, case.heads, case.n, case.d, device=device, dtype=torch.bfloat16)
    k, v = (torch.randn(1, case.kv_heads, case.m, case.d, device=device, dtype=torch.bfloat16)
            for _ in range(2))
    rows = min(256, case.n)
    with torch.no_grad():
        ours, exact = call(q, k, v)[0, 0, :rows].float(), exact_rows(case, q, k, v, rows)
        error = ((ours - exact).norm() / exact.norm()).item()
        forward = median_ms(lambda: call(q, k, v), device, repeats)
    if device == "cpu" and call.__name__ == "flex":
        return forward, float("nan"), error  # it has no backward pass there
    for x in (q, k, v):
        x.requires_grad_()
    y = call(q, k, v)
    g = torch.randn_like(y)

    def clear():
        for x in (q, k, v):
            x.grad = None

    return forward, median_ms(lambda: y.backward(g, retain_graph=True), device, repeats, clear), error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    torch.manual_seed(1)
    failed = 0
    compiled = torch.compile(flex_attention)
    for case in map(Case, TINY if args.tiny else CASES):
        torch._dynamo.reset()
        for name, call in rivals_of(case, args.device, compiled):
            try:
                figures = measure(case, call, args.device, args.repeats)
            except RuntimeError as error:  # a backend that this build or card lacks
                print(f"{case.shape}: {name}: {str(error).splitlines()[0]}", file=sys.stderr)
                failed += 1
                continue
            print("\t".join([case.shape, name] + [f"{x:.4g}" for x in figures]), flush=True)
    print(f"torch {torch.__version__}, {failed} rivals failed", file=sys.stderr)


if __name__ == "__main__":
    main()
