#!/usr/bin/env python3
"""Ours beside PyTorch's: attention_table.py OURS RIVALS

OURS is what bench_kernels printed, RIVALS what attention_torch.py did (may be absent).  Milliseconds
and TFLOP/s on pairs that attend (4 D forward, 10 D backward); a rival's ratio is its time over ours.
At the end the time a token at one window over lengths.
"""
import re
import sys


def read_ours(path):
    rows = {}
    for line in open(path):
        found = re.match(r"attention(_grad)? +(\S+ w \d+) +bf16 +([\d.]+) ms +([\d.]+) GFLOP/s", line)
        if found:
            rows.setdefault(found[2], {})["backward" if found[1] else "forward"] = (
                float(found[3]), float(found[4]) / 1e3)
    return rows


def read_rivals(path):
    rows = {}
    try:
        lines = open(path).read().splitlines()
    except OSError:
        return rows
    for line in lines:
        shape, name, forward, backward, error = line.split("\t")
        rows.setdefault(shape, []).append((name, float(forward), float(backward), float(error)))
    return rows


def main():
    ours, rivals = read_ours(sys.argv[1]), read_rivals(sys.argv[2])
    print("| shape | pass | ours ms | TFLOP/s | rivals: ms (ratio) |\n| --- | --- | --- | --- | --- |")
    for shape, passes in ours.items():
        for i, name in enumerate(("forward", "backward")):
            if name not in passes:
                continue
            ms, rate = passes[name]
            others = ", ".join(f"{r[0]} {r[1 + i]:.3g} ({r[1 + i] / ms:.2f})"
                               for r in rivals.get(shape, []))
            print(f"| {shape} | {name} | {ms:.3f} | {rate:.1f} | {others} |")
    same = {}
    for shape, passes in ours.items():
        heads, n, kv, m, d, w = (int(x) for x in re.findall(r"\d+", shape))
        if n == m and w:
            same.setdefault((heads, d, w), []).append((n, passes))
    for (heads, d, w), found in same.items():
        if len(found) < 2:
            continue
        for name in ("forward", "backward"):
            ns = ", ".join(f"{n}: {1e6 * p[name][0] / n:.2f}" for n, p in sorted(found, key=lambda x: x[0])
                           if name in p)
            print(f"ns a token, {heads} heads, width {d}, window {w}, {name}: {ns}")


if __name__ == "__main__":
    main()
