#!/usr/bin/env python3
"""Planted offsets between a dancer and the music: what `beat` says about them.

usage: dancer.py [--lockstep build/lockstep] [--count 8] [--seed 100] [--fps 25] [--work FOLDER]
                 [options of `lockstep worlds`, e.g. --camera --noise --clutter]

Renders `count` clips of the dancer world for each offset, and as many with unrelated music, scores
them, and prints the error of beat.offset_ms modulo beat.offset_modulus_ms (the metric says that it
knows no more), the tempo and the alignment scores beside their chance.
"""
import argparse, json, pathlib, re, statistics, subprocess, sys, tempfile

OFFSETS_MS = (-180, -60, 0, 45, 120, 250)


def run(*command):
    out = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {out.stderr.strip()}")
    return out.stdout


def clips(args, folder, *options):
    run(args.lockstep, "worlds", "dancer", "--count", args.count, "--seed", args.seed, "--seconds", 10,
        "--fps", args.fps, "-o", folder, *args.world, *options)
    truth = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    files = [folder / t["clip"] for t in truth]
    rows = [json.loads(line) for line in
            run(args.lockstep, "score", *files, "--metric", "beat", "--json").splitlines()]
    return zip(truth, rows)


def main():
    ask = argparse.ArgumentParser(usage=__doc__)
    ask.add_argument("--lockstep", default="build/lockstep")
    ask.add_argument("--count", type=int, default=8)
    ask.add_argument("--seed", type=int, default=100)
    ask.add_argument("--fps", default="25")
    ask.add_argument("--work", type=pathlib.Path)
    args, args.world = ask.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or pathlib.Path(scratch)
        every, tempo_right, clips_seen = [], 0, 0
        print("offset    said  abstained  median error  worst error  bas_motion (chance)")
        for offset in OFFSETS_MS:
            errors, silent, bas = [], 0, []
            for truth, row in clips(args, work / f"at{offset}", "--offset-ms", offset):
                scores, clips_seen = row["scores"], clips_seen + 1
                bpm = float(re.search(r"at (\d+) b", truth["caption"]).group(1))
                if "beat.tempo_bpm" in scores:
                    tempo_right += abs(scores["beat.tempo_bpm"]["value"] / bpm - 1) < 0.01
                if "beat.bas_motion" in scores:
                    bas.append(scores["beat.bas_motion"])
                if "beat.offset_ms" not in scores:
                    silent += 1
                    continue
                modulus = scores["beat.offset_modulus_ms"]["value"]
                error = scores["beat.offset_ms"]["value"] - offset
                errors.append(error - modulus * round(error / modulus))
            every += errors
            worst = max(errors, key=abs, default=float("nan"))
            print(f"{offset:+6} ms {len(errors):5} {silent:10} {statistics.median(errors):+10.1f} ms"
                  f" {worst:+9.1f} ms  {statistics.fmean(b['value'] for b in bas):9.3f}"
                  f" ({statistics.fmean(b['chance'] for b in bas):.3f})")
        near = sum(abs(e) <= 20 for e in every)
        print(f"all: {len(every)} offsets, median error {statistics.median(every):+.1f} ms, median "
              f"|error| {statistics.median(map(abs, every)):.1f} ms, {near} within 20 ms; tempo "
              f"within 1 % on {tempo_right} of {clips_seen} clips")
        said, rare, seen = 0, 0, 0
        for _, row in clips(args, work / "unrelated", "--control", "shuffled"):
            seen += 1
            said += "beat.offset_ms" in row["scores"]
            rare += row["scores"].get("beat.bas_motion", {"p": 1})["p"] < 0.05
        print(f"unrelated music: {said} of {seen} clips got an offset, bas_motion p < 0.05 on {rare}")


if __name__ == "__main__":
    main()
