#!/usr/bin/env python3
"""Rate and distortion of our tokenizers beside other codecs, on the same clips by the same measures.

    experiments/tokenizers/rd.py build/lockstep --sound held/speech.flac --codec codec.safetensors
    experiments/tokenizers/rd.py build/lockstep --picture held/*.mkv --vae vae.safetensors --size 128x128

Sound, as one channel of 16 kHz: Opus and Codec2 through ffmpeg (payload bits counted from packets), our codec by
tokens, by its continuous latents and by both (bits: log2 of the codes a token, KL / ln 2 of the Gaussian latents, as
`lockstep encode` measures it), and the
linear tokenizer of the same size (PCA of MDCT frames, unquantised, fitted on --fit).
Pictures: x264 and SVT-AV1 (RGB through yuv420, one group of pictures a clip), our VAE, and PCA of blocks of the same size.
Every copy is measured by `lockstep fidelity`.  A markdown table comes out, rows of JSON into --json.  Needs numpy, ffmpeg.
"""
import argparse, json, math, pathlib, subprocess, sys, tempfile
import numpy as np

RATE = 16000


def run(*command, **more):
    out = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if out.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {out.stderr.strip()[:300]}")
    return out.stdout


def packet_bits(path, stream):
    text = run("ffprobe", "-v", "error", "-select_streams", stream, "-show_entries", "packet=size", "-of", "csv=p=0", path)
    return 8 * sum(int(x.strip(",")) for x in text.split())


def seconds(path):
    return float(run("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path))


def fidelity(args, original, copy, *options):
    return json.loads(run(args.lockstep, "fidelity", original, copy, "--json", *options))


# ---- sound

def mdct_frames(x, hop):
    n = np.arange(2 * hop)
    window = np.sin(np.pi * (n + 0.5) / (2 * hop))
    k = np.arange(hop)
    basis = np.cos(np.pi / hop * (n[:, None] + 0.5 + hop / 2) * (k[None] + 0.5)) * math.sqrt(2 / hop)
    padded = np.concatenate([np.zeros(hop), x, np.zeros(2 * hop)])
    frames = np.stack([padded[i:i + 2 * hop] for i in range(0, len(padded) - 2 * hop + 1, hop)])
    return (frames * window) @ basis, basis, window


def from_mdct(c, basis, window, hop, n):
    out = np.zeros(hop * (len(c) + 1))
    for i, frame in enumerate(c @ basis.T):
        out[i * hop:(i + 2) * hop] += frame * window
    return out[hop:hop + n]


def read_sound(path):
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-ac", "1", "-ar", str(RATE), "-f", "f32le", "-"],
                         capture_output=True).stdout
    return np.frombuffer(raw, np.float32).astype(np.float64)


def write_sound(path, x):
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", str(RATE), "-ac", "1", "-i", "-", path],
                   input=x.astype(np.float32).tobytes(), check=True)


def linear_sound(args, name, work, numbers):
    hop = RATE // 25
    fit = np.concatenate([mdct_frames(read_sound(p), hop)[0] for p in args.fit])
    _, _, v = np.linalg.svd(fit.T @ fit)
    x = read_sound(name)
    c, basis, window = mdct_frames(x, hop)
    p = v[:numbers].T
    write_sound(work / "linear.wav", from_mdct(c @ p @ p.T, basis, window, hop, len(x)))
    return work / "linear.wav"


def sound_rows(args, name, work):
    original, length = work / "original.wav", seconds(name)
    run("ffmpeg", "-v", "error", "-y", "-i", name, "-ac", "1", "-ar", RATE, original)
    rivals = [("Opus", "libopus", "ogg", k * 1000) for k in (6, 8, 12, 16, 24)]
    rivals += [("Codec2", "libcodec2", "c2", 3200), ("Codec2", "libcodec2", "c2", 2400)]
    for system, codec, ending, rate in rivals:
        coded, back = work / f"x.{ending}", work / f"{system}{rate}.wav"
        try:
            hz = ["-ar", "8000"] if codec == "libcodec2" else []
            run("ffmpeg", "-v", "error", "-y", "-i", original, *hz, "-c:a", codec, "-b:a", rate, coded)
            run("ffmpeg", "-v", "error", "-y", "-i", coded, "-ar", RATE, back)
            yield system, packet_bits(coded, "a") / length / 1000, fidelity(args, original, back)
        except RuntimeError as why:
            print(f"{system} left out: {why}", file=sys.stderr)
    if args.codec:
        for mode in ("tokens", "continuous", "both"):
            counts = json.loads(run(args.lockstep, "encode", original, "--codec", args.codec, "--mode", mode, "--json",
                                    "-o", work / "x.h5"))
            tokens = 0 if mode == "continuous" else counts["audio_latents"] * args.stages * args.token_bits
            kbps = (tokens + counts.get("audio_bits", 0)) / length / 1000
            run(args.lockstep, "decode", work / "x.h5", "--codec", args.codec, "--acodec", "pcm", "-o", work / "ours.mkv")
            yield f"lockstep, {mode}", kbps, fidelity(args, original, work / "ours.mkv")
    for numbers in (32, 64) if args.fit else ():
        yield f"linear, 25 Hz x {numbers}", None, fidelity(args, original, linear_sound(args, name, work, numbers))


# ---- pictures

def read_pictures(path, size):
    w, h = map(int, size.split("x"))
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-vf", f"scale={w}:{h}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                         capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, h, w, 3)


def blocks(x, t, s):
    n, h, w, _ = x.shape
    n -= n % t
    y = x[:n].reshape(n // t, t, h // s, s, w // s, s, 3).transpose(0, 2, 4, 1, 3, 5, 6)
    return y.reshape(-1, t * s * s * 3).astype(np.float32) / 127.5 - 1, (n // t, h // s, w // s)


def from_blocks(y, shape, t, s):
    n, h, w = shape
    x = y.reshape(n, h, w, t, s, s, 3).transpose(0, 3, 1, 4, 2, 5, 6).reshape(n * t, h * s, w * s, 3)
    return np.clip((x + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)


class LinearPictures:
    def __init__(self, files, size, t, s, channels):
        self.t, self.s = t, s
        total, count, square = 0, 0, 0
        for f in files:
            y, _ = blocks(read_pictures(f, size), t, s)
            total, count = total + y.sum(0, dtype=np.float64), count + len(y)
            square = square + y.T.astype(np.float64) @ y
        self.mean = total / count
        _, v = np.linalg.eigh(square / count - np.outer(self.mean, self.mean))
        self.v = v[:, ::-1][:, :channels]

    def copy(self, x):
        y, shape = blocks(x, self.t, self.s)
        return from_blocks((y - self.mean) @ self.v @ self.v.T + self.mean, shape, self.t, self.s)


def psnr(a, b):
    a, b = a[:len(b)].astype(np.float64), b.astype(np.float64)
    return 10 * math.log10(255 ** 2 / max(np.mean((a - b) ** 2), 1e-9))


def picture_rows(args, name, work, linear):
    w, h = map(int, args.size.split("x"))
    x = read_pictures(name, args.size)
    original = work / "original.mkv"
    run("ffmpeg", "-v", "error", "-y", "-i", name, "-vf", f"scale={w}:{h}", "-an", "-c:v", "ffv1", "-pix_fmt", "bgr0", original)
    pixels = x.shape[0] * w * h
    for system, codec, crfs in (("x264", "libx264", (18, 24, 30, 36)), ("SVT-AV1", "libsvtav1", (20, 30, 40, 50))):
        for crf in crfs:
            try:
                run("ffmpeg", "-v", "error", "-y", "-i", original, "-c:v", codec, "-crf", crf, "-g", "999", "-pix_fmt", "yuv420p",
                    *(["-preset", "slow"] if codec == "libx264" else ["-preset", "6"]), work / "x.mp4")
                yield f"{system} crf {crf}", packet_bits(work / "x.mp4", "v") / pixels, fidelity(args, original, work / "x.mp4")
            except RuntimeError as why:
                print(f"{system} left out: {why}", file=sys.stderr)
    if args.vae:
        counts = json.loads(run(args.lockstep, "encode", original, "--vae", args.vae, "--json", "-o", work / "x.h5"))
        run(args.lockstep, "decode", work / "x.h5", "--vae", args.vae, "--vcodec", "ffv1", "-o", work / "ours.mkv")
        yield "lockstep", counts["video_bits"] / pixels, fidelity(args, original, work / "ours.mkv", "--group", args.time)
    if linear:
        yield f"linear, same size", None, {"psnr_db": psnr(x, linear.copy(x))}


def main():
    ask = argparse.ArgumentParser(usage=__doc__)
    ask.add_argument("lockstep")
    ask.add_argument("--sound", nargs="+", default=[])
    ask.add_argument("--picture", nargs="+", default=[])
    ask.add_argument("--codec")
    ask.add_argument("--vae")
    ask.add_argument("--stages", type=int, default=8)
    ask.add_argument("--token-bits", type=int, default=10)
    ask.add_argument("--time", type=int, default=4)
    ask.add_argument("--space", type=int, default=8)
    ask.add_argument("--channels", type=int, default=16)
    ask.add_argument("--size", default="128x128")
    ask.add_argument("--fit", nargs="+", default=[], help="files the linear tokenizer is fitted on")
    ask.add_argument("--json")
    args = ask.parse_args()
    table = {}
    linear = LinearPictures(args.fit, args.size, args.time, args.space, args.channels) if args.picture and args.fit else None
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(scratch)
        for name in args.sound:
            for system, rate, f in sound_rows(args, name, work):
                table.setdefault((name, system, round(rate, 1) if rate else None), []).append((rate, f))
        for name in args.picture:
            for system, rate, f in picture_rows(args, name, work, linear):
                table.setdefault(("pictures", system, None), []).append((rate, f))
    kinds = [("si_sdr_db", "SI-SDR dB"), ("mel", "mel"), ("mel_low", "mel < 3.5 kHz"), ("stoi", "STOI")] if args.sound else \
            [("psnr_db", "PSNR dB"), ("ssim", "SSIM"), ("flicker_levels", "flicker")]
    print(f"| clips | system | {'kbit/s' if args.sound else 'bits a pixel'} | " + " | ".join(k for _, k in kinds) + " |")
    print("|" + " --- |" * (3 + len(kinds)))
    for (name, system, _), rows in table.items():
        rates = [r for r, _ in rows if r is not None]
        cells = []
        for key, _ in kinds:
            values = [f[key] for _, f in rows if f.get(key) is not None]
            cells.append(f"{sum(values) / len(values):.3f}" if values else "-")
        print(f"| {pathlib.Path(name).stem} | {system} | {f'{sum(rates) / len(rates):.3f}' if rates else '-'} | " + " | ".join(cells) + " |")
    if args.json:
        pathlib.Path(args.json).write_text("".join(
            json.dumps({"clips": n, "system": s, "rate": r, **f}) + "\n" for (n, s, _), rows in table.items() for r, f in rows))


if __name__ == "__main__":
    main()
