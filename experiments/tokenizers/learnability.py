#!/usr/bin/env python3
"""How well latents can be learnt: latents that reconstruct better can generate worse.

    experiments/tokenizers/learnability.py build/lockstep --out probe --linear \\
        small=weights/worlds-small/vae.safetensors,weights/worlds-small/codec.safetensors

A probe, the same small joint model with the same settings and clips whatever the tokenizers, is trained briefly on
rendered worlds with scripts, which say when what happens, and clips of other seeds say:

    loss     of the flow on clips held out, in four bands of the noise level t, in units in which knowing no more than every
             channel's mean and variance is 1.  For x and noise e of variance 1 and z = (1 - t) x + t e, no guess of e - x from
             z alone is better than Var(e - x | z) = 1 / ((1 - t)^2 + t^2); its mean over a band a .. b is
             (atan(2 b - 1) - atan(2 a - 1)) / (b - a).  Less is better, and tokenizers of any number of channels compare.
    sync     of impacts: onsets heard beside the true times of the hits, in rendered clips (`rendered`), in their copies through
             the tokenizers (`copied`), in clips that the probe makes from the scripts (`made`), and in those of the next clip
             (`chance`): F1 at 80 ms, and the median distance of a hit from its nearest onset within 250 ms

--linear also measures what every training starts from: both tokenizers after one step.  What is in --out is kept, so what
was interrupted goes on.  Needs numpy and ffmpeg.
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "joint"))
import worlds  # noqa: E402

SECONDS, FPS = 1.28, "25"
TRAIN, HELD = ("train", 1, 80), ("held", 901, 12)  # name, seed, clips of a world
BANDS = ("0_25", "25_50", "50_75", "75_100")
PROBE = ["model.preset=tiny", "model.patch=2", "model.predict=flow", "train.compute=bf16", "train.warmup=20", "train.rate=1e-3", "train.last_rate=1e-4",
         "train.average=0.98", "train.no_script=0", "train.no_text=0", "train.no_exchange=0", "train.hold_audio=0",
         "train.hold_video=0", "train.hold_first=0", "train.hold_range=0", "train.sample_every=0", "train.log_every=10"]


def run(*command):
    out = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {out.stderr.strip()[-300:]}")


def say(text):
    print(text, file=sys.stderr, flush=True)


def pack(a, part):
    name, seed, count = part
    files = []
    for world in ("impacts", "talker"):
        files.append(a.out / f"{world}_{name}.h5")
        run(a.lockstep, "pack", "--world", world, "--count", count, "--seed", seed, "--seconds", SECONDS, "--fps", FPS,
            "--size", "64x64", "-o", files[-1])
    return f"[{','.join(map(str, files))}]"


def start_of_training(a, data):
    for kind in ("vae", "codec"):
        if not (a.out / kind / "DONE").exists():
            run(a.lockstep, "train", kind, "--resume", "--config", HERE.parent / "joint" / f"{kind}.yaml", f"data={data}", "train.steps=1",
                "train.warmup=0", "-o", a.out / kind)
    return f"linear={a.out / 'vae/vae.safetensors'},{a.out / 'codec/codec.safetensors'}"


def unit(band):
    low, high = (int(x) / 100 for x in band.split("_"))
    return (math.atan(2 * high - 1) - math.atan(2 * low - 1)) / (high - low)


def train(a, name, vae, codec, data, held):
    folder = a.out / name / "run"
    if not (folder / "DONE").exists():
        say(f"{name}: {a.steps} steps")
        run(a.lockstep, "train", "joint", "--resume", f"data={data}", f"validation={held}", f"tokenizers.vae={vae}",
            f"tokenizers.codec={codec}", *PROBE, f"train.steps={a.steps}", f"train.validate_every={a.steps}", "-o", folder)
    last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    return {s: [last[f"valid_{s}_flow_{b}"] / unit(b) for b in BANDS] for s in ("video", "audio")}


def near(heard, truth):
    """F1 a clip, and distances from hits to onsets in ms, a list a clip."""
    times = [[e["picture_s"] for e in clip["events"] if 0 < e["picture_s"] < clip["seconds"]] for clip in truth]
    pairs = [(h, t) for h, t in zip(heard, times) if t]
    gaps = [[min((abs(x - y) for x in h), default=9) for y in t] for h, t in pairs]
    return [[worlds.f1(h, t)] for h, t in pairs], [[1000 * g for g in clip if g < worlds.REACH_S] for clip in gaps]


def sync(a, name, vae, codec):
    worlds.SECONDS = {"impacts": SECONDS}
    job = argparse.Namespace(lockstep=a.lockstep, model=a.out / name / "run/joint.safetensors", vae=vae, codec=codec, out=a.out / name,
                             count=a.count, fps=FPS, steps=20, text=1, exchange=1)
    say(f"{name}: {a.count} clips copied and made")
    truth = worlds.render(job, "impacts")
    heard = {}
    for row in ("rendered", "copied", "events"):
        for clip in truth if row != "rendered" else ():
            error = worlds.make(job, "impacts", row, clip)
            if error:
                sys.exit(error)
        found = worlds.onsets(job, sorted((job.out / "impacts" / row).glob("*.mkv")))
        heard[row] = [found.get(clip["clip"], []) for clip in truth]
    heard["made"] = heard.pop("events")
    heard["chance"] = heard["made"][1:] + heard["made"][:1]
    return {row: near(h, truth) for row, h in heard.items()}


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("lockstep")
    ask.add_argument("tokenizers", nargs="*", metavar="NAME=VAE,CODEC")
    ask.add_argument("--out", type=pathlib.Path, required=True)
    ask.add_argument("--linear", action="store_true", help="also what trainings start from")
    ask.add_argument("--steps", type=int, default=250)
    ask.add_argument("--count", type=int, default=24, help="clips whose sync is measured")
    a = ask.parse_intermixed_args()
    a.out.mkdir(parents=True, exist_ok=True)
    data, held = pack(a, TRAIN), pack(a, HELD)
    if a.linear:
        a.tokenizers.append(start_of_training(a, data))
    results = {}
    for text in a.tokenizers:
        name, files = text.split("=", 1)
        vae, codec = (pathlib.Path(f).resolve() for f in files.split(","))
        results[name] = train(a, name, vae, codec, data, held), sync(a, name, vae, codec)
    print("| loss, 1: mean and variance | " + " | ".join(f"{s} {b.replace('_', ' to ')} %" for s in ("picture", "sound") for b in BANDS) + " |")
    print("|" + " --- |" * (1 + 2 * len(BANDS)))
    for name, (loss, _) in results.items():
        print(f"| {name} | " + " | ".join(f"{v:.2f}" for s in ("video", "audio") for v in loss[s]) + " |")
    print("\n| sync of impacts | | F1 of onsets at 80 ms | hits with an onset | median distance, ms |\n" + "|" + " --- |" * 5)
    for name, (_, rows) in results.items():
        for row, (scores, gaps) in rows.items():
            print(f"| {name} | {row} | {worlds.interval(scores, np.mean)} | {sum(map(len, gaps))} | {worlds.interval(gaps, np.median)} |")


if __name__ == "__main__":
    main()
