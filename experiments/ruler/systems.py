#!/usr/bin/env python3
"""What the ruler says about public systems: a markdown table out of `lockstep score` rows.

    lockstep score CLIPS -o rows.jsonl; experiments/ruler/systems.py rows.jsonl

The system of a clip is the part after the last '-' of its name in a folder named *_page, else the
name in a folder named *_paired, else its folder.  Intervals: 95 % bootstrap over clips.
"""
import json
import os
import random
import statistics
import sys


def system_of(path):
    parts = path.split("/")
    stem = os.path.splitext(parts[-1])[0]
    if parts[-2].endswith("_page"):
        return parts[-2] + ": " + stem.rsplit("-", 1)[-1]
    if len(parts) > 2 and parts[-3].endswith("_paired"):
        return parts[-3] + ": " + stem
    return parts[-2]


def interval(values, seed=1):
    if len(values) < 3:
        return "-"
    rng = random.Random(seed)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(2000))
    return f"[{means[50]:+.3f}, {means[1949]:+.3f}]"


def main():
    systems = {}
    for line in open(sys.argv[1]):
        row = json.loads(line)
        systems.setdefault(system_of(row["clip"]), []).append(row)
    print("| system | clips | with a trusted offset | their median ms | event coincidence less chance | p <= 0.05 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in sorted(systems):
        rows = systems[name]
        offsets, gains, small = [], [], 0
        for r in rows:
            s = r["scores"]
            for key in ("event.offset_ms", "mouth.offset_ms"):
                if key in s:
                    offsets.append(s[key]["value"])
                    break
            c = s.get("event.coincidence")
            if c and c["chance"] is not None:
                gains.append(c["value"] - c["chance"])
                small += c["p"] <= 0.05
        middle = f"{statistics.median(offsets):+.0f}" if offsets else "-"
        gain = f"{statistics.fmean(gains):+.3f} {interval(gains)}" if gains else "-"
        print(f"| {name} | {len(rows)} | {len(offsets)} | {middle} | {gain} | {small} of {len(gains)} |")


if __name__ == "__main__":
    main()
