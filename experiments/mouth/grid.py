#!/usr/bin/env python3
"""Real sentences taken as in time: what `mouth` says of each, as the table of docs/mouth.md.

    experiments/mouth/grid.py build/lockstep FOLDER        every video under FOLDER
    experiments/mouth/grid.py build/lockstep FOLDER --every 7
"""
import argparse
import collections
import json
import os
import re
import subprocess
import sys

KINDS = (".mpg", ".mp4", ".mov", ".mkv", ".avi", ".webm")


def videos(folder):
    found = []
    for where, _, names in os.walk(folder):
        found += [os.path.join(where, n) for n in names if n.lower().endswith(KINDS)]
    return sorted(found)


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("lockstep")
    parser.add_argument("folder")
    parser.add_argument("--every", type=int, default=1, help="take every n-th clip")
    args = parser.parse_args()
    clips = videos(args.folder)[:: args.every]
    if not clips:
        sys.exit(3)
    out = subprocess.run([args.lockstep, "score", "--metric", "mouth", "--json"] + clips,
                         stdout=subprocess.PIPE, text=True, check=False).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    offsets = [r["scores"]["mouth.offset_ms"]["value"] for r in rows if "mouth.offset_ms" in r["scores"]]
    reasons = collections.Counter(
        re.sub(r"[-+]?\d[\d.e-]*", "#", r["abstained"].get("mouth.offset_ms", r["error"] or "failed"))
        for r in rows if "mouth.offset_ms" not in r["scores"])
    print("| | |\n| --- | --- |")
    print("| answered | %d of %d |" % (len(offsets), len(rows)))
    if offsets:
        print("| median offset of the answers | %+.1f ms |" % quantile(offsets, 0.5))
        print("| 5 %% and 95 %% of the answers | %+.0f ms, %+.0f ms |" % (quantile(offsets, 0.05), quantile(offsets, 0.95)))
        for limit in (40, 80):
            print("| answers within %d ms of zero | %d of %d |" % (limit, sum(abs(o) <= limit for o in offsets), len(offsets)))
    for reason, n in reasons.most_common():
        print("| no answer: %s | %d |" % (reason, n))


main()
