#!/usr/bin/env python3
"""Do events keep their time through the tokenizers?  Clicks and flashes there and back.

    experiments/tokenizers/click_flash.py build/lockstep --vae vae.safetensors --codec codec.safetensors

At 23.976, 25, 29.97, 30, 60 frames a second and with a variable rate, a clip with one-frame flashes over a slowly
moving picture and short clicks in soft noise is encoded and decoded.  A flash is found again where a frame is brighter
than half-way; its time is compared with the original's.  A click's displacement is the lag of the largest
correlation of copy and original within 5 ms around it.  Frames, samples and times must be the same in number.
A markdown table comes out; exit 1 when a flash is missing or off by more than half a frame, a click by more than a
sample, or a length changed.  Needs numpy and ffmpeg.
"""
import argparse, json, pathlib, subprocess, sys, tempfile
import numpy as np

SIDE, SECONDS = 64, 4
RATES = ("24000/1001", "25", "30000/1001", "30", "60", "vfr")


def run(*command, data=None):
    out = subprocess.run([str(c) for c in command], input=data, capture_output=True)
    if out.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {out.stderr.decode()[-300:]}")
    return out.stdout


def make_pictures(n, flashes):
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    frames = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for i in range(n):
        wave = np.sin(0.2 * x + 0.03 * i) * np.cos(0.15 * y - 0.02 * i)
        for k in range(3):
            frames[i, :, :, k] = 60 + 30 * wave + 5 * k + (120 if i in flashes else 0)
    return frames


def make_sound(n, clicks, rate, seed=1):
    x = np.random.default_rng(seed).normal(0, 0.002, n)
    length = int(0.004 * rate)
    t = np.arange(length) / rate
    burst = 0.6 * np.exp(-t / 0.0008) * np.cos(2 * np.pi * 1500 * t)
    for c in clicks:
        x[c:c + length] += burst[:max(0, min(length, n - c))]
    return x.astype(np.float32)


def frame_times(path):
    text = run("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0", path)
    return np.array([float(t.strip(",")) for t in text.decode().split()])


def brightness(path):
    raw = run("ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, SIDE * SIDE).mean(1)


def sound_of(path, rate):
    return np.frombuffer(run("ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-ar", rate, "-ac", 1, "-"), np.float32)


def lag_at(original, copy, at, rate):
    half = int(0.005 * rate)
    a = original[at - half:at + half].astype(np.float64)
    best = max(range(-half, half + 1), key=lambda d: float(a @ copy[at - half + d:at + half + d]))
    return best


def check(args, fps, work):
    clip, back = work / "clip.mkv", work / "back.mkv"
    number = 25.0 if fps == "vfr" else eval(fps)
    n = int(SECONDS * number)
    flashes = set(range(7, n - 3, max(9, n // 11)))
    stretch = ["-vf", "setpts=(N+0.4*mod(N\\,3))/(25*TB)", "-fps_mode", "vfr"] if fps == "vfr" else []
    run("ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIDE}x{SIDE}", "-r", 25 if fps == "vfr" else fps,
        "-i", "-", *stretch, "-c:v", "ffv1", work / "v.mkv", data=make_pictures(n, flashes).tobytes())
    times = frame_times(work / "v.mkv")
    clicks = [int(round(times[i] * args.rate)) for i in sorted(flashes)]
    sound = make_sound(SECONDS * args.rate, clicks, args.rate)
    run("ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", args.rate, "-ac", 1, "-i", "-", "-c:a", "pcm_f32le", work / "a.wav", data=sound.tobytes())
    run("ffmpeg", "-v", "error", "-y", "-i", work / "v.mkv", "-i", work / "a.wav", "-c", "copy", clip)
    run(args.lockstep, "encode", clip, "--vae", args.vae, "--codec", args.codec, "-o", work / "x.h5")
    run(args.lockstep, "decode", work / "x.h5", "--vae", args.vae, "--codec", args.codec, "--vcodec", "ffv1", "--acodec", "pcm", "-o", back)
    before, after = frame_times(clip), frame_times(back)
    light = brightness(back)
    found = set(np.flatnonzero(light > 0.5 * (np.median(light) + light.max())).tolist()) if light.max() > np.median(light) + 30 else set()
    same_times = len(before) == len(after) and np.abs((after - after[0]) - (before - before[0])).max() < 0.002
    copy = sound_of(back, args.rate)
    lags = [lag_at(sound, copy, c, args.rate) for c in clicks if c + 200 < len(copy)]
    return {"fps": fps, "flashes": len(flashes), "flashes_kept": len(flashes & found), "flashes_invented": len(found - flashes),
            "clicks": len(lags), "worst_click_samples": max(map(abs, lags)), "clicks_within_1": sum(abs(x) <= 1 for x in lags),
            "frames_equal": bool(same_times), "samples_equal": len(copy) == len(sound)}


def main():
    ask = argparse.ArgumentParser(usage=__doc__)
    ask.add_argument("lockstep")
    ask.add_argument("--vae", required=True)
    ask.add_argument("--codec", required=True)
    ask.add_argument("--rate", type=int, default=16000)
    ask.add_argument("--json")
    args = ask.parse_args()
    rows = []
    print("| frames a second | flashes kept | invented | clicks within 1 sample | worst, samples | frame times | samples |")
    print("|" + " --- |" * 7)
    with tempfile.TemporaryDirectory() as scratch:
        for fps in RATES:
            r = check(args, fps, pathlib.Path(scratch))
            rows.append(r)
            print(f"| {fps} | {r['flashes_kept']} of {r['flashes']} | {r['flashes_invented']} | {r['clicks_within_1']} of {r['clicks']} | "
                  f"{r['worst_click_samples']} | {'equal' if r['frames_equal'] else 'changed'} | {'equal' if r['samples_equal'] else 'changed'} |")
    if args.json:
        pathlib.Path(args.json).write_text("".join(json.dumps(r) + "\n" for r in rows))
    good = all(r["flashes_kept"] == r["flashes"] and not r["flashes_invented"] and r["clicks_within_1"] == r["clicks"] and
               r["frames_equal"] and r["samples_equal"] for r in rows)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
