#!/usr/bin/env python3
"""Every operation of the engine beside the machine's peaks and the aims, as a table.

    experiments/engine/ops_table.py build/lockstep --rounds 3

Runs `lockstep bench ops` --rounds times and takes medians, of rates and of shares of the peak that each run
measured.  What misses its aim is in bold.  Aims, with two threads of a processor with AVX-512 and bf16:

    products, convolutions, and their gradients   85 % of the peak in f32, 75 % in bf16
    gradient of a convolution into 1 to 3 channels   150 GFLOP/s
    depthwise convolutions   80 GFLOP/s
    norms and activations   60 GB/s, or 80 % of a copy

Other operations have no aim.  LK_THREADS sets the threads.
"""
import argparse
import json
import re
import statistics
import subprocess

ACTIVATIONS = ("unary", "unary_grad", "snake", "snake_grad", "softmax", "softmax_grad", "norm", "norm_grad")


def misses(op, shape, dtype, rate, share):
    if "depthwise" in shape:
        return rate < 80
    if op == "conv_dx" and re.match(r"\dd [1-3]-", shape):
        return rate < 150
    if op == "matmul" or op.startswith("conv"):
        return share < (0.85 if dtype == "f32" else 0.75)
    return op in ACTIVATIONS and rate < 60 and share < 0.8


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("lockstep")
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--filter", help="only operations whose name contains this")
    a = ask.parse_args()
    command = [a.lockstep, "bench", "ops", "--device", "cpu", "--json"] + (["--filter", a.filter] if a.filter else [])
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(a.rounds)]
    peaks = {k: statistics.median(r["peaks"][k] for r in runs) for k in ("f32_gflops", "bf16_gflops", "copy_gbps")}
    print(f"{runs[0]['threads']} threads, medians of {a.rounds}; peaks {peaks['f32_gflops']:.0f} GFLOP/s f32, "
          f"{peaks['bf16_gflops']:.0f} bf16, copy {peaks['copy_gbps']:.1f} GB/s\n")

    # A product stands three times in a run, for y, dx and dw: kept in that order.
    cells, missed = {}, 0
    for i, row in enumerate(runs[0]["rows"]):
        rate = statistics.median(r["rows"][i]["gflops"] or r["rows"][i]["gbps"] for r in runs)
        share = statistics.median(r["rows"][i]["share_of_peak"] for r in runs)
        miss = misses(row["op"], row["shape"], row["dtype"], rate, share)
        missed += miss
        text = f"{rate:.3g} ({100 * share:.0f} %)"
        key = row["op"], row["shape"], "GFLOP/s" if row["gflops"] else "GB/s"
        cells.setdefault(key, {}).setdefault(row["dtype"], []).append(f"**{text}**" if miss else text)
    print("| operation | shape | unit | f32 | bf16 |\n| --- | --- | --- | --- | --- |")
    for (op, shape, unit), types in cells.items():
        print(f"| {op} | {shape} | {unit} | {', '.join(types.get('f32', ['']))} | {', '.join(types.get('bf16', ['']))} |")
    print(f"\n{missed} of {sum(len(c) for t in cells.values() for c in t.values())} readings miss their aim.")


if __name__ == "__main__":
    main()
