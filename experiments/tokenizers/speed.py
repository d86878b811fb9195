#!/usr/bin/env python3
"""How fast the tokenizers are: clips there and back.

    experiments/tokenizers/speed.py build/lockstep --vae weights/worlds-small/vae.safetensors --codec weights/codec_16k.safetensors

`lockstep encode` and `decode` of a long and of a short clip, sound and picture each alone; the difference of their times is what
the longer part takes, without starting and loading; reading and writing ffv1 and samples is in it.  Medians of --rounds, turn and
turn about; a table with times real time, frames a second and milliseconds a frame comes out.  Needs ffmpeg.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

SHORT_S, LONG_S = 2, 12


def run(*command):
    start = time.perf_counter()
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return time.perf_counter() - start


def make(folder, size, seconds):
    """A moving pattern, and noise that comes and goes."""
    picture, sound = folder / f"{seconds}.mkv", folder / f"{seconds}.wav"
    run("ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc2=size={size}x{size}:rate=25:duration={seconds}", "-c:v", "ffv1", "-coder", "0",
        "-context", "0", "-pix_fmt", "bgr0", picture)
    run("ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"anoisesrc=r=16000:d={seconds}:a=0.2,tremolo=f=3", sound)
    return {"picture": picture, "sound": sound}


def there_and_back(a, folder, clip, weights, out):
    latents = folder / "latents.h5"
    times = [run(a.lockstep, "encode", clip, *weights, "-o", latents), run(a.lockstep, "decode", latents, *weights, *out)]
    latents.unlink()
    return times


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("lockstep")
    p.add_argument("--vae")
    p.add_argument("--codec")
    p.add_argument("--size", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    os.environ["LK_THREADS"] = str(a.threads)
    print("| tokenizer | encode | decode | both |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        clips = {s: make(folder, a.size, s) for s in (SHORT_S, LONG_S)}
        for kind, flag, path, per_s in (("picture", "--vae", a.vae, 25), ("sound", "--codec", a.codec, 1)):
            if not path:
                continue
            back = ["--acodec", "pcm", "-o", folder / "back.mkv"] if kind == "sound" else ["--vcodec", "ffv1", "-o", folder / "back.mkv"]
            turns = [[there_and_back(a, folder, clips[s][kind], [flag, path], back) for s in (SHORT_S, LONG_S)] for _ in range(a.rounds)]
            took = [statistics.median(t[1][k] - t[0][k] for t in turns) for k in range(2)]
            n = (LONG_S - SHORT_S) * per_s
            unit = "frames a second" if kind == "picture" else "times real time"
            cells = [f"{n / t:.0f} {unit}" + (f", {1000 * t / n:.1f} ms a frame" if kind == "picture" else "") for t in (*took, sum(took))]
            print(f"| {path} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
