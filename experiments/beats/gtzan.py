#!/usr/bin/env python3
"""Beat tracking on annotated excerpts: lockstep and aubio on the same files in the same run.

usage: gtzan.py FOLDER [--lockstep build/lockstep] [--json OUT]

FOLDER holds NAME.flac (or .wav) and NAME.beats, lines of "seconds position-in-bar".  Annotations
after the end of a file are left out, and, as usual, all beats before 5 s.  F: one-to-one matches
within 70 ms.  F (level): the best of the annotation, its off-beats, its double and its two halves,
so that only phase counts.  aubiotrack hears each file as it is and once more at 44.1 kHz, the rate
its defaults are made for.  Needs ffmpeg; aubio-tools for the rival.
"""
import argparse, json, pathlib, random, shutil, statistics, subprocess, sys, tempfile


def f_measure(reference, estimate, window=0.07):
    i = j = pairs = 0
    while i < len(reference) and j < len(estimate):
        if estimate[j] < reference[i] - window:
            j += 1
        elif estimate[j] > reference[i] + window:
            i += 1
        else:
            pairs, i, j = pairs + 1, i + 1, j + 1
    return 2 * pairs / (len(reference) + len(estimate)) if pairs else 0.0


def best_level(reference, estimate):
    middle = [(a + b) / 2 for a, b in zip(reference, reference[1:])]
    variants = [reference, middle, sorted(reference + middle), reference[::2], reference[1::2]]
    return max(f_measure(v, estimate) for v in variants)


def lockstep(binary, path):
    out = subprocess.run([binary, "events", str(path), "--json"], capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"{binary} events {path}: {out.stderr.strip()}")
    found = json.loads(out.stdout)
    return found["beats_s"], found["downbeats_s"]


def aubio(path):
    out = subprocess.run(["aubiotrack", "-i", str(path)], capture_output=True, text=True)
    return [float(line.split()[0]) for line in out.stdout.splitlines() if line.strip()]


def seconds(path):
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)],
        capture_output=True, text=True, check=True)
    return float(out.stdout)


def interval(values):
    """95 % bootstrap interval of the mean over files."""
    rng = random.Random(1)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(2000))
    return means[50], means[1949]


def main():
    ask = argparse.ArgumentParser(usage=__doc__)
    ask.add_argument("folder", type=pathlib.Path)
    ask.add_argument("--lockstep", default="build/lockstep")
    ask.add_argument("--json", type=pathlib.Path)
    args = ask.parse_args()
    scores, rows = {}, []
    for beats in sorted(args.folder.glob("*.beats")):
        sound = next((beats.with_suffix(e) for e in (".flac", ".wav")
                      if beats.with_suffix(e).exists()), None)
        if sound is None:
            continue
        end = seconds(sound)
        lines = [line.split() for line in beats.read_text().splitlines() if line.strip()]
        kept = [(float(t), p) for t, p in lines if 5 <= float(t) < end]
        reference, bars = [t for t, _ in kept], [t for t, p in kept if p == "1"]
        found, found_bars = lockstep(args.lockstep, sound)
        answers = {"lockstep": found}
        if shutil.which("aubiotrack"):
            answers["aubio"] = aubio(sound)
            with tempfile.TemporaryDirectory() as scratch:
                wav = pathlib.Path(scratch) / "a.wav"
                subprocess.run(["ffmpeg", "-v", "error", "-i", str(sound), "-ac", "1", "-ar",
                                "44100", str(wav)], check=True, stdin=subprocess.DEVNULL)
                answers["aubio at 44.1 kHz"] = aubio(wav)
        row = {"file": beats.stem}
        for name, times in answers.items():
            times = [t for t in times if t >= 5]
            row[name] = {"f": f_measure(reference, times), "level": best_level(reference, times)}
        row["lockstep"]["downbeat_f"] = f_measure(bars, [t for t in found_bars if t >= 5])
        for name, values in row.items():
            if name != "file":
                for key, value in values.items():
                    scores.setdefault((name, key), []).append(value)
        rows.append(row)
        print(f"{beats.stem:20}" + "".join(f"  {n} {v['f']:.3f}" for n, v in row.items()
                                           if n != "file"))
    if not rows:
        sys.exit(f"no NAME.beats beside NAME.flac or NAME.wav in {args.folder}")
    print(f"\n{len(rows)} files\n{'':24}mean   95 % interval   median")
    for (name, key), values in scores.items():
        low, high = interval(values)
        print(f"{name + ' ' + key:24}{statistics.fmean(values):.3f}  [{low:.3f}, {high:.3f}]  "
              f"{statistics.median(values):.3f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
