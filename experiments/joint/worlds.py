#!/usr/bin/env python3
"""How well sound and picture of generated clips belong together, on worlds whose every event is known.

    experiments/joint/worlds.py build/lockstep --model M --vae V --codec C --count 200 --out DIR

Clips of seeds that nothing was trained on are rendered; their captions and scripts make the model's clips, their
sounds and pictures its given partners.  Rows of the table:

    rendered   the worlds' own clips: what the measures say when everything is right
    copied     the same through both tokenizers: what the model could reach at most
    script     generated from caption and script, which says when what happens and where what moves is
    apart      the same by weights that do not let the streams see each other (--exchange 0)
    events     the same without places and paths: when what happens
    prompt     generated from the caption
    sound      a picture for the rendered sound
    picture    a sound for the rendered picture
    extended   `script`, but 2 s made first and the rest grown from them (with --seconds 20: long clips)
    shuffled   pictures of `script` with the next clip's sound: chance

Measures.  impacts: a ball's hit is where its falling turns into rising (hits below, good to half a frame; the row
`rendered` has its own error); each hit's nearest onset within 250 ms gives an offset; F1 of onsets at 80 ms against the
script, or against the given picture's truth.  talker: `lockstep score --metric mouth`.  dancer: `--metric beat`, which
wants 3 s.  Drift: how the offsets of hits grow along the clip, the slope of a line through all.  At rest: the change
from frame to frame, in levels of 255, of the median pixel; rendered pictures stand still there.  Intervals: 95 % by resampling clips.  Files that are there are kept, so what was interrupted goes on.
"""
import argparse
import concurrent.futures
import fractions
import json
import os
import pathlib
import re
import subprocess

import numpy as np

SEED = 7777
SECONDS = {"impacts": 2.56, "talker": 6, "dancer": 4}  # so long that the measures answer on rendered clips
WINDOW = 2.56  # what models are trained on; longer clips are made in windows
REACH_S, CLOSE_S = 0.25, 0.08
FIRST_S = 2  # of an extended clip
ROWS = ["rendered", "copied", "script", "apart", "events", "prompt", "sound", "picture", "shuffled"]


def run(*command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True)


# ---- clips ----

def render(a, world):
    folder = a.out / world / "rendered"
    run(a.lockstep, "worlds", world, "--count", a.count, "--seed", SEED, "--seconds", a.seconds or SECONDS[world], "--size", "64x64",
        "--rate", 16000, "--fps", a.fps, "--scripts", "--container", "mkv", "--vcodec", "ffv1", "--acodec", "flac", "--resume",
        "--out", folder)
    truth = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()][:a.count]
    for clip in truth:
        script = (folder / clip["clip"]).with_suffix(".txt")
        lines = [re.sub(r" at \S+$", "", line) for line in script.read_text().splitlines() if " s path " not in line]
        script.with_suffix(".events").write_text("\n".join(lines) + "\n")
    return truth


def beginning(script, end_s):
    """The lines of a script that end before a clip of end_s seconds does."""
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    return "\n".join(line for line in lines if float(line.split(" ")[0].split("-")[-1]) < end_s) + "\n"


def make(a, world, row, clip):
    """One clip of one row; returns the file, or an error."""
    rendered = a.out / world / "rendered" / clip["clip"]
    out = a.out / world / row / clip["clip"]
    if out.exists():
        return None
    out.parent.mkdir(parents=True, exist_ok=True)
    tokenizers = ["--vae", a.vae, "--codec", a.codec]
    if row == "copied":
        latents = out.with_suffix(".h5")
        result = run(a.lockstep, "encode", rendered, *tokenizers, "-o", latents)
        if result.returncode == 0:
            result = run(a.lockstep, "decode", latents, *tokenizers, "--vcodec", "ffv1", "--acodec", "flac", "-o", out)
        latents.unlink(missing_ok=True)
    else:
        command = [a.lockstep, "generate", "--model", a.model, *tokenizers, "--prompt", clip["caption"], "--steps", a.steps,
                   "--fps", a.fps, "--seed", clip["index"] + 1, "--compute", a.compute, "--text", a.text,
                   "--exchange", 0 if row == "apart" else a.exchange]
        if row in ("script", "apart", "events"):
            command += ["--script", rendered.with_suffix(".events" if row == "events" else ".txt")]
        if row == "extended":
            first, script = out.with_suffix(".h5"), out.with_suffix(".first.txt")
            script.write_text(beginning(rendered.with_suffix(".txt"), FIRST_S))
            result = run(*command, "--script", script, "--seconds", FIRST_S, "--latents", first, "-o", out.with_suffix(".first.mp4"))
            if result.returncode != 0:
                return f"{out}: {result.stderr.strip()}"
            command += ["--script", rendered.with_suffix(".txt"), "--extend", first]
        command += ["-o", out]
        if row in ("script", "apart", "events", "prompt", "extended"):
            command += ["--seconds", clip["seconds"]]
        if clip["seconds"] > WINDOW and row != "extended":  # which has windows anyhow
            command += ["--window", WINDOW]
        if row == "sound":
            command += ["--audio", rendered]
        if row == "picture":
            command += ["--video", rendered]
        result = run(*command)
    return None if result.returncode == 0 else f"{out}: {result.stderr.strip()}"


# ---- measures ----

def frames(path):
    raw = run_bytes("ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, 64, 64, 3).astype(float)


def run_bytes(*command):
    return subprocess.run([str(c) for c in command], capture_output=True).stdout


def hits(path, fps):
    """Moments when what moves turns from falling to rising, from the mean row of what differs from the median."""
    x = frames(path)
    d = np.maximum(np.abs(x - np.median(x, 0)).sum(-1) - 40, 0)
    mass = d.sum((1, 2))
    y = (d.sum(2) * np.arange(64)).sum(1) / np.maximum(mass, 1e-9)
    found = []
    for i in range(2, len(y) - 2):
        falls = y[i] >= y[i - 1] and y[i] > y[i + 1]
        if mass[i] < 40 or not falls or y[i] - y[max(0, i - 4):i].min() < 2 or y[i] - y[i + 1:i + 5].min() < 1:
            continue
        before, after, t = y[i - 1] - y[i - 2], y[i + 2] - y[i + 1], float(i)
        if before - after > 0.2:  # two lines that meet
            t = (y[i + 1] - after * (i + 1) - y[i - 1] + before * (i - 1)) / (before - after)
        found.append(min(max(t, i - 1), i + 1) / fps)
    return found


def onsets(a, files):
    lines = run(a.lockstep, "events", *files, "--json").stdout.splitlines()
    return {pathlib.Path(r["clip"]).name: r.get("onsets_s") or [] for r in map(json.loads, lines)}


def f1(found, truth):
    """By pairs in order of time, each used once."""
    pairs, i, k = 0, 0, 0
    found, truth = sorted(found), sorted(truth)
    while i < len(found) and k < len(truth):
        if abs(found[i] - truth[k]) <= CLOSE_S:
            pairs, i, k = pairs + 1, i + 1, k + 1
        elif found[i] < truth[k]:
            i += 1
        else:
            k += 1
    return 2 * pairs / max(len(found) + len(truth), 1)


def interval(values, statistic):
    """values: one list a clip, of numbers or of pairs."""
    if not any(values):
        return "-"
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(300):
        pick = sum((values[k] for k in rng.integers(0, len(values), len(values))), [])
        if pick:
            draws.append(statistic(pick))
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{statistic(sum(values, [])):.3g} ({low:.3g} to {high:.3g})"


def drift(pairs):
    t, d = np.transpose(pairs)
    return np.polyfit(t, d, 1)[0] if len(set(t)) > 1 else 0.0


def rest(folder, truth):
    change = [np.abs(np.diff(frames(folder / c["clip"]), axis=0)).mean((0, 3)) for c in truth if (folder / c["clip"]).exists()]
    return interval([[float(np.median(c))] for c in change], np.mean)


def measure_impacts(a, row, truth, folder):
    sound = onsets(a, sorted(folder.glob("*.mkv")))
    offsets, moments, scores, errors = [], [], [], []
    for i, clip in enumerate(truth):
        heard = sound.get(truth[(i + 1) % len(truth)]["clip"] if row == "shuffled" else clip["clip"], [])
        seen = hits(folder / clip["clip"], float(fractions.Fraction(a.fps)))
        true = [e["picture_s"] for e in clip["events"] if 0 < e["picture_s"] < clip["seconds"]]
        near = [min((h - s for h in heard), key=abs, default=9) for s in seen]
        offsets.append([1000 * d for d in near if abs(d) < REACH_S])
        moments.append([(s, 1000 * d) for s, d in zip(seen, near) if abs(d) < REACH_S])
        if true:
            scores.append([f1(heard, true)])
        errors.append([1000 * e for e in (min((s - t for t in true), key=abs, default=9) for s in seen) if abs(e) < REACH_S])
    return {"hits with an onset": f"{sum(map(len, offsets))}",
            "median abs offset, ms": interval(offsets, lambda v: np.median(np.abs(v))),
            "median offset, ms": interval(offsets, np.median),
            "drift, ms/s": interval(moments, drift),
            "F1 of onsets at 80 ms": interval(scores, np.mean),
            "hits from the script, median abs, ms": interval(errors, lambda v: np.median(np.abs(v)))}


def score(a, metric, folder):
    lines = run(a.lockstep, "score", folder, "--metric", metric, "--json").stdout.splitlines()
    return {pathlib.Path(r["clip"]).name: r["scores"] for r in map(json.loads, lines)}


def value(scores, name):
    v = scores.get(name, {}).get("value")
    return [] if v is None else [v]


def measure_talker(a, row, truth, folder):
    rows = score(a, "mouth", folder)
    clips = [rows.get(c["clip"], {}) for c in truth]
    offsets = [value(c, "mouth.offset_ms") for c in clips]
    return {"correlation of mouth and loudness": interval([value(c, "mouth.correlation") for c in clips], np.mean),
            "clips with an offset": f"{sum(map(len, offsets))} of {len(clips)}",
            "of all, within 40 ms": interval([[float(bool(o) and abs(o[0]) <= 40)] for o in offsets], np.mean),
            "median offset, ms": interval(offsets, np.median)}


def measure_dancer(a, row, truth, folder):
    rows = score(a, "beat", folder)
    clips = [rows.get(c["clip"], {}) for c in truth]
    good = []
    for clip, scores in zip(truth, clips):
        asked = float(clip["caption"].split(" beats a minute")[0].split()[-1])
        tempo = value(scores, "beat.tempo_bpm")
        good.append([float(bool(tempo) and abs(tempo[0] / asked - 1) <= 0.04)])
    chance = [[scores["beat.bas_music"]["chance"]] if value(scores, "beat.bas_music") else [] for scores in clips]
    return {"BAS, music to motion": interval([value(c, "beat.bas_music") for c in clips], np.mean),
            "BAS, motion to music": interval([value(c, "beat.bas_motion") for c in clips], np.mean),
            "chance": interval(chance, np.mean),
            "tempo within 4 %": interval(good, np.mean)}


MEASURES = {"impacts": measure_impacts, "talker": measure_talker, "dancer": measure_dancer}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("lockstep")
    for name in ("model", "vae", "codec"):
        p.add_argument(f"--{name}", required=True)
    p.add_argument("--count", type=int, default=200)
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--worlds", nargs="+", default=list(MEASURES))
    p.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS + ["extended"])
    p.add_argument("--fps", default="25")
    p.add_argument("--seconds", type=float, help="of a clip; without it, what each world's measures want")
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--text", type=float, default=1)
    p.add_argument("--compute", default="f32", choices=["f32", "bf16"])
    p.add_argument("--exchange", type=float, default=1)
    p.add_argument("--jobs", type=int, default=os.cpu_count())
    a = p.parse_args()
    os.environ["LK_THREADS"] = "1"
    for world in a.worlds:
        truth = render(a, world)
        made = [r for r in a.rows if r not in ("rendered", "shuffled")]
        with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
            for error in pool.map(lambda job: make(a, world, *job), [(r, c) for r in made for c in truth]):
                if error:
                    print(error)
        table = {}
        for row in a.rows:
            folder = a.out / world / ("script" if row == "shuffled" else row)
            if row != "shuffled" or world == "impacts":
                table[row] = {**MEASURES[world](a, row, truth, folder), "at rest, levels": rest(folder, truth)}
        columns = list(next(iter(table.values())))
        print(f"\n{world}, {len(truth)} clips\n\n| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
        for row, cells in table.items():
            print(f"| {row} | {' | '.join(cells[c] for c in columns)} |", flush=True)


if __name__ == "__main__":
    main()
