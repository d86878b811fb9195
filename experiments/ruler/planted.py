#!/usr/bin/env python3
"""Planted truth: clips with a known offset through every container, read back by `lockstep sync`.

Prints a markdown table per world: bias, 95 % of absolute errors, slope, share trusted; then drift
and the controls.  Exit 4 when a bar of docs/ruler.md is missed.

    experiments/ruler/planted.py build/lockstep --quick
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

CONTAINERS = [
    ("mp4", "h264", "aac"),
    ("mkv", "h264", "opus"),
    ("mov", "h264", "pcm"),
    ("webm", "vp9", "opus"),
    ("ts", "h264", "mp2"),
    ("avi", "mpeg4", "mp3"),
    ("ogg", "theora", "vorbis"),
]
RATES = ["23.976", "25", "29.97", "30", "60", "vfr"]
CONTROLS = ["silent", "static", "shuffled", "reversed"]


def run(args):
    return subprocess.run(args, capture_output=True, text=True)


def render(lockstep, world, seed, folder, **options):
    """One clip; returns (path, truth row)."""
    args = [lockstep, "worlds", world, "--count", "1", "--seed", str(seed), "-o", folder]
    for key, value in options.items():
        args += ["--" + key.replace("_", "-"), str(value)]
    done = run(args)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    with open(os.path.join(folder, "truth.jsonl")) as f:
        truth = json.loads(f.readline())
    return os.path.join(folder, truth["clip"]), truth


def sync(lockstep, path):
    done = run([lockstep, "sync", path, "--json"])
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def one(lockstep, world, case):
    with tempfile.TemporaryDirectory() as folder:
        path, truth = render(lockstep, world, case["seed"], folder, **case["options"])
        answer = sync(lockstep, path)
    return dict(case, answer=answer, planted=case["options"].get("offset_ms", 0.0))


def cases_for(world, quick, seconds, reach_ms):
    rng = random.Random(20)
    cases = []
    rates = RATES[1::2] if quick else RATES
    containers = CONTAINERS[:3] if quick else CONTAINERS
    per_cell = 1 if quick else 3
    for fps in rates:
        for container, vcodec, acodec in containers:
            if fps == "vfr" and container in ("avi", "ogg"):
                continue  # these count frames and cannot say when each is shown
            for _ in range(per_cell):
                cases.append(
                    dict(
                        seed=1000 + len(cases),
                        fps=fps,
                        container=container,
                        options=dict(
                            fps=fps,
                            seconds=seconds,
                            size="320x240",
                            offset_ms=round(rng.uniform(-reach_ms, reach_ms), 2),
                            container=container,
                            vcodec=vcodec,
                            acodec=acodec,
                        ),
                    )
                )
    return cases


def slope(xs, ys):
    mx, my = statistics.fmean(xs), statistics.fmean(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def row(label, results):
    good = [r for r in results if r["answer"]["trusted"]]
    if len(good) < 2:
        print(f"| {label} | {len(results)} | {len(good)} | - | - | - | - |")
        return None
    errors = [r["answer"]["offset_ms"] - r["planted"] for r in good]
    worst = sorted(abs(e) for e in errors)
    p95 = worst[min(len(worst) - 1, int(0.95 * len(worst)))]
    bias = statistics.median(errors)
    k = slope([r["planted"] for r in good], [r["answer"]["offset_ms"] for r in good])
    print(
        f"| {label} | {len(results)} | {len(good)} | {bias:+.2f} | {p95:.2f} | {worst[-1]:.1f} | {k:.4f} |"
    )
    return bias, p95, k


def drift(args, pool, dump):
    """Clips of 30 s whose sound runs fast or slow; a list of missed bars."""
    n = 3 if args.quick else 12
    missed = []
    print("\n### drift over 30 s\n\n| planted ppm | n | answered | median relative error | worst |")
    print("| --- | --- | --- | --- | --- |")
    for ppm in (200, 500, 1000):
        cases = [
            dict(seed=7000 + i, options=dict(seconds=30, size="320x240", drift_ppm=s * ppm, fps=RATES[i % 5]))
            for i in range(n)
            for s in (1, -1)
        ]
        errors = []
        for r in pool.map(lambda c: one(args.lockstep, "impacts", c), cases):
            if dump:
                dump.write(json.dumps(dict(r, world="impacts", kind="drift")) + "\n")
            got = r["answer"].get("drift_ppm")
            if got is not None:
                errors.append(abs(got / r["options"]["drift_ppm"] - 1))
        worst = max(errors, default=float("inf"))
        middle = statistics.median(errors) if errors else float("inf")
        print(f"| +-{ppm} | {len(cases)} | {len(errors)} | {middle:.3f} | {worst:.3f} |")
        if ppm == 500 and (worst > 0.15 or len(errors) < len(cases)):
            missed.append("drift")
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lockstep")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--world", action="append", help="impacts, talker, dancer or drift; repeat")
    parser.add_argument("--dump", help="write every case to this JSON-lines file")
    args = parser.parse_args()
    bars = {  # world: seconds, reach, bias, p95, slope tolerance
        "impacts": (10, 500, 3, 15, 0.01),
        "talker": (10, 500, 10, 40, 0.05),
        "dancer": (12, 170, 10, 40, 0.05),
    }
    missed = []
    dump = open(args.dump, "w") if args.dump else None
    pool = ThreadPoolExecutor(2)
    for world in [w for w in args.world or bars if w in bars]:
        seconds, reach, bias_bar, p95_bar, slope_bar = bars[world]
        cases = cases_for(world, args.quick, seconds, reach)
        results = list(pool.map(lambda c: one(args.lockstep, world, c), cases))
        for r in results:
            if dump:
                dump.write(json.dumps(dict(r, world=world)) + "\n")
        print(f"\n### {world}: planted offsets within +-{reach} ms\n")
        print("| clips | n | trusted | median error ms | p95 abs error ms | worst ms | slope |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for fps in dict.fromkeys(c["fps"] for c in cases):
            row(f"{fps} fps", [r for r in results if r["fps"] == fps])
        for container in dict.fromkeys(c["container"] for c in cases):
            row(container, [r for r in results if r["container"] == container])
        whole = row("all", results)
        if not whole or abs(whole[0]) > bias_bar or whole[1] > p95_bar or abs(whole[2] - 1) > slope_bar:
            missed.append(f"{world} offsets")
        n = 4 if args.quick else 20
        controls = [
            dict(seed=5000 + i, options=dict(seconds=seconds, size="320x240", control=c), control=c)
            for c in CONTROLS
            for i in range(n)
        ]
        results = list(pool.map(lambda c: one(args.lockstep, world, c), controls))
        print("\n| control | n | trusted |\n| --- | --- | --- |")
        for c in CONTROLS:
            mine = [r for r in results if r["control"] == c]
            print(f"| {c} | {len(mine)} | {sum(r['answer']['trusted'] for r in mine)} |")
        if dump:
            for r in results:
                dump.write(json.dumps(dict(r, world=world)) + "\n")
        if sum(r["answer"]["trusted"] for r in results) > 0.05 * len(results):
            missed.append(f"{world} controls")
    if not args.world or "drift" in args.world:
        missed += drift(args, pool, dump)
    if dump:
        dump.close()
    print("\n" + ("missed: " + ", ".join(missed) if missed else "every bar holds"))
    return 4 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
