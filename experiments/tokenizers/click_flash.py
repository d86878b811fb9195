#!/usr/bin/env python3
"""Do events keep their time through the tokenizers?  Clicks and flashes there and back.

    experiments/tokenizers/click_flash.py build/lockstep --vae vae.safetensors --codec codec.safetensors

At 23.976, 25, 29.97, 30, 60 frames a second and with a variable rate, a clip with one-frame flashes over a slowly
moving picture and short clicks in soft noise is encoded and decoded.  A flash is where the copy is brightest within two
frames of it; `own light` is the share of what is brighter there that lies in the flash's own frame.  Clicks are bursts of
a carrier that fade within 1.2 of its cycles; a click's displacement is the lag of the largest correlation of copy and
original within 5 ms around it, `kept` the share of its energy that comes back.  Frames, samples and times must be the
same in number, also of clips of few frames and of few samples.
A markdown table comes out, medians over a row's events; exit 1 when a flash is off by more than half a frame, a click by
more than a sample, or a length changed.  Needs numpy and ffmpeg.
"""
import argparse, fractions, json, pathlib, subprocess, sys, tempfile
import numpy as np

SIDE, SECONDS = 64, 4
RATES = ("24000/1001", "25", "30000/1001", "30", "60", "vfr")
CARRIERS_HZ = (400, 800, 1500)
APART_S = 0.11  # clicks of different carriers, after every flash
SHORT = (1, 1), (2, 639), (3, 640), (5, 641)  # frames, samples


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


def burst(hz, rate):
    fade = 1.2 / hz
    t = np.arange(int(5 * fade * rate)) / rate
    return 0.6 * np.exp(-t / fade) * np.cos(2 * np.pi * hz * t)


def make_sound(n, clicks, rate, seed=1):
    """clicks: pairs of first sample and carrier."""
    x = np.random.default_rng(seed).normal(0, 0.002, n)
    for at, hz in clicks:
        b = burst(hz, rate)
        x[at:at + len(b)] += b[:max(0, n - at)]
    return x.astype(np.float32)


def frame_times(path):
    text = run("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0", path)
    return np.array([float(t.strip(",")) for t in text.decode().split()])


def brightness(path):
    raw = run("ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, SIDE * SIDE).mean(1)


def sound_of(path, rate):
    return np.frombuffer(run("ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-ar", rate, "-ac", 1, "-"), np.float32)


def click_at(original, copy, at, hz, rate):
    """Lag in samples, share of the energy."""
    reach, end = int(0.005 * rate), at + len(burst(hz, rate))
    a = original[at:end].astype(np.float64)
    best = max(range(-reach, reach + 1), key=lambda d: float(a @ copy[at + d:end + d]))
    b = copy[at - reach:end + reach].astype(np.float64)
    return best, float(b @ b / (a @ a))


def flash_at(light, i):
    """Frames from flash to where it is brightest, share of the light in its own frame."""
    near = np.maximum(light[i - 2:i + 3] - np.median(light), 0)
    return int(near.argmax()) - 2, float(near[2] / max(near.sum(), 1e-9))


def write_clip(args, path, pictures, sound, fps, vfr=False):
    stretch = ["-vf", "setpts=(N+0.4*mod(N\\,3))/(25*TB)", "-fps_mode", "vfr"] if vfr else []
    v, a = path.with_suffix(".v.mkv"), path.with_suffix(".wav")
    run("ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIDE}x{SIDE}", "-r", fps,
        "-i", "-", *stretch, "-c:v", "ffv1", v, data=pictures.tobytes())
    x = sound(frame_times(v))
    run("ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", args.rate, "-ac", 1, "-i", "-", "-c:a", "pcm_f32le", a, data=x.tobytes())
    run("ffmpeg", "-v", "error", "-y", "-i", v, "-i", a, "-c", "copy", path)
    return x


def there_and_back(args, clip, back):
    both = ["--vae", args.vae, "--codec", args.codec]
    run(args.lockstep, "encode", clip, *both, "-o", clip.with_suffix(".h5"))
    run(args.lockstep, "decode", clip.with_suffix(".h5"), *both, "--vcodec", "ffv1", "--acodec", "pcm", "-o", back)


def check(args, fps, work):
    clip, back = work / "clip.mkv", work / "back.mkv"
    vfr = fps == "vfr"
    n = int(SECONDS * (25 if vfr else fractions.Fraction(fps)))
    flashes = list(range(7, n - 3, max(9, n // 11)))
    clicks = []

    def sound(times):
        clicks.extend((int(round((times[i] + APART_S * k) * args.rate)), hz) for i in flashes for k, hz in enumerate(CARRIERS_HZ))
        return make_sound(SECONDS * args.rate, clicks, args.rate)
    sound = write_clip(args, clip, make_pictures(n, set(flashes)), sound, 25 if vfr else fps, vfr)
    there_and_back(args, clip, back)
    before, after = frame_times(clip), frame_times(back)
    light, copy = brightness(back), sound_of(back, args.rate)
    same_times = len(before) == len(after) and np.abs((after - after[0]) - (before - before[0])).max() < 0.002
    seen = [flash_at(light, i) for i in flashes]
    row = {"fps": fps, "flashes": len(seen), "flashes_kept": sum(d == 0 for d, _ in seen),
           "own_light": float(np.median([s for _, s in seen])), "frames_equal": bool(same_times), "samples_equal": len(copy) == len(sound)}
    for hz in CARRIERS_HZ:
        heard = [click_at(sound, copy, at, hz, args.rate) for at, f in clicks if f == hz and at + 0.03 * args.rate < len(copy)]
        row[f"clicks_{hz}"] = {"clicks": len(heard), "within_1": sum(abs(d) <= 1 for d, _ in heard), "mean_lag": float(np.mean([d for d, _ in heard])),
                               "kept": float(np.median([e for _, e in heard]))}
    return row


def check_short(args, frames, samples, work):
    clip, back = work / "short.mkv", work / "short_back.mkv"
    write_clip(args, clip, make_pictures(frames, ()), lambda _: make_sound(samples, (), args.rate), 25)
    there_and_back(args, clip, back)
    return len(frame_times(back)) == frames and len(sound_of(back, args.rate)) == samples


def cell(c):
    return f"{c['within_1']} of {c['clicks']}, {100 * c['kept']:.0f} %"


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("lockstep")
    ask.add_argument("--vae", required=True)
    ask.add_argument("--codec", required=True)
    ask.add_argument("--rate", type=int, default=16000)
    ask.add_argument("--json")
    args = ask.parse_args()
    rows = []
    print("| frames a second | flashes within half a frame, own light | " +
          " | ".join(f"clicks of {hz} Hz within 1 sample, kept" for hz in CARRIERS_HZ) + " | frame times | samples |")
    print("|" + " --- |" * (4 + len(CARRIERS_HZ)))
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(scratch)
        for fps in RATES:
            r = check(args, fps, work)
            rows.append(r)
            print(f"| {fps} | {r['flashes_kept']} of {r['flashes']}, {100 * r['own_light']:.0f} % | " +
                  " | ".join(cell(r[f"clicks_{hz}"]) for hz in CARRIERS_HZ) +
                  f" | {'equal' if r['frames_equal'] else 'changed'} | {'equal' if r['samples_equal'] else 'changed'} |", flush=True)
        short = [check_short(args, *n, work) for n in SHORT]
    print("\nClips of " + ", ".join(f"{f} and {s}" for f, s in SHORT) + " frames and samples come back " +
          ("as long." if all(short) else "with other lengths."))
    if args.json:
        pathlib.Path(args.json).write_text("".join(json.dumps(r) + "\n" for r in rows))
    good = all(short) and all(r["flashes_kept"] == r["flashes"] and r["frames_equal"] and r["samples_equal"] and
                              all(r[f"clicks_{hz}"]["within_1"] == r[f"clicks_{hz}"]["clicks"] for hz in CARRIERS_HZ) for r in rows)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
