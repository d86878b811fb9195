#!/usr/bin/env python3
"""Rate and distortion of our tokenizers beside other codecs, on the same clips by the same measures.

    experiments/tokenizers/rd.py build/lockstep --rows rows.jsonl --plot plot.png \\
        --sound speech held/speech.flac --sound music held/music.flac --codec codec.safetensors --fit-sound train/*.flac \\
        --picture photographs held/*.mkv --picture real footage/*.mp4 --vae vae.safetensors --fit-picture train/*.mkv

--sound and --picture take a group's name and its files, and may be given again; so may several weights after --codec and
--vae.  A clip is the first --seconds of sound as one channel of 16 kHz, the first --frames pictures in --size.

Sound: Opus and Codec2 through ffmpeg, our codec by tokens, by its continuous latents and by both.  Pictures: x264 and
SVT-AV1 (RGB through yuv420, one group of pictures a clip), our VAE.  Bits: packets; log2 of the codes a token; KL / ln 2
of the Gaussian latents, as `lockstep encode` measures it.  Beside them:

    linear   principal components of MDCT frames or blocks of pixels, as many as the weights have channels, not
             quantised, fitted on the files of --fit-sound and --fit-picture, none of which may be measured
    bound    what no linear code of Gaussian blocks goes below (reverse water-filling; Cover and Thomas, Elements of
             Information Theory, 10.3.3): with l_i the mean square of the clip along component i of that fit,
             D = sum min(t, l_i) at R = sum max(0, log2(l_i / t) / 2) bits a block of 40 ms, or of 4 x 8 x 8 pixels.
             Said as PSNR, and as SI-SDR = S / D - 1 with S = sum l_i, which is what the best copy has.

Every copy is measured by `lockstep fidelity`.  A row goes into --rows as soon as it is measured and is not measured again
while clip, weights and fit are the same; delete the file to begin anew.  Tables come out, means over a group's clips.
Needs numpy and ffmpeg, --plot also matplotlib.
"""
import argparse, functools, hashlib, json, math, pathlib, struct, subprocess, sys, tempfile, time
import numpy as np

RATE, HOP = 16000, 640  # a latent is 40 ms
BLOCK = 4, 8  # frames and side of the bound's blocks
BOUND = "linear-Gaussian bound"
SOUND_CURVE_KBPS = 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24
PICTURE_CURVE_BPP = 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6


def run(*command, text=True, **more):
    out = subprocess.run([str(c) for c in command], capture_output=True, text=text, **more)
    if out.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {str(out.stderr).strip()[:300]}")
    return out.stdout


def packet_bits(path, stream):
    lines = run("ffprobe", "-v", "error", "-select_streams", stream, "-show_entries", "packet=size", "-of", "csv=p=0", path)
    return 8 * sum(int(x.strip(",")) for x in lines.split())


def digest(*parts):
    h = hashlib.sha1()
    for p in parts:
        h.update(p if isinstance(p, bytes) else str(p).encode())
        h.update(b"\0")
    return h.hexdigest()[:16]


def settings_of(weights):
    """The description in a .safetensors file: its settings, by name."""
    with open(weights, "rb") as f:
        meta = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))["__metadata__"]
    lines = meta.get("config", meta.get("video_vae", "")).splitlines()
    return dict(line.split(": ", 1) for line in lines)


def name_of(weights):
    path = pathlib.Path(weights)
    return path.stem if path.stem not in ("vae", "codec") else f"{path.parent.name}/{path.stem}"


# ---- linear codes

def components(vectors_of, files):
    """Mean and principal components, as columns, the largest first."""
    total, square, count = 0, 0, 0
    for f in files:
        y = vectors_of(f)
        total, square, count = total + y.sum(0), square + y.T @ y, count + len(y)
    mean = total / count
    return mean, np.linalg.eigh(square / count - np.outer(mean, mean))[1][:, ::-1]


def least_distortion(squares, bits):
    """D at R = bits, by bisection of the water level."""
    low, high = -60.0, math.log2(squares.max())
    for _ in range(60):
        level = (low + high) / 2
        rate = np.maximum(0, np.log2(np.maximum(squares, 1e-300)) - level).sum() / 2
        low, high = (level, high) if rate > bits else (low, level)
    return np.minimum(2.0 ** high, squares).sum()


# ---- sound

class Sound:
    kind, unit = "sound", "kbit/s"
    measures = [("si_sdr_db", "SI-SDR dB"), ("bound_db", "bound dB"), ("mel", "mel"), ("mel_low", "mel < 3.5 kHz"), ("stoi", "STOI")]

    def __init__(self, args, work):
        self.args, self.work, self.weights, self.fit = args, work, args.codec, args.fit_sound
        n = np.arange(2 * HOP)
        self.window = np.sin(np.pi * (n + 0.5) / (2 * HOP))
        self.basis = np.cos(np.pi / HOP * (n[:, None] + 0.5 + HOP / 2) * (np.arange(HOP) + 0.5)) * math.sqrt(2 / HOP)

    def read(self, path):
        raw = run("ffmpeg", "-v", "error", "-i", path, "-t", self.args.seconds, "-ac", 1, "-ar", RATE, "-f", "f32le", "-", text=False)
        return np.frombuffer(raw, np.float32)

    def write(self, path, x):
        run("ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", RATE, "-ac", 1, "-i", "-", path, text=False, input=x.astype(np.float32).tobytes())

    def vectors(self, x):
        padded = np.concatenate([np.zeros(HOP), x.astype(np.float64), np.zeros(2 * HOP)])
        frames = np.stack([padded[i:i + 2 * HOP] for i in range(0, len(padded) - 2 * HOP + 1, HOP)])
        return (frames * self.window) @ self.basis

    def from_vectors(self, c, n):
        out = np.zeros(HOP * (len(c) + 1))
        for i, frame in enumerate(c @ self.basis.T):
            out[i * HOP:(i + 2) * HOP] += frame * self.window
        return out[HOP:HOP + n]

    @functools.cached_property
    def linear(self):
        return components(lambda f: self.vectors(self.read(f)), self.fit)

    def squares(self, x):
        mean, v = self.linear
        return (((self.vectors(x) - mean) @ v) ** 2).mean(0)

    def bound(self, squares, kbps):
        return 10 * math.log10(max(squares.sum() / least_distortion(squares, kbps * 1000 * HOP / RATE) - 1, 1e-9))

    def curve(self, squares):
        return [[r, self.bound(squares, r)] for r in SOUND_CURVE_KBPS]

    def jobs(self, x):
        """System, family (a line of the plot), weights if any; and a function that makes a copy: its path, kbit/s or None."""
        original, length = self.work / "original.wav", len(x) / RATE
        self.write(original, x)

        def rival(codec, ending, *settings):
            coded, back = self.work / f"x.{ending}", self.work / "rival.wav"
            run("ffmpeg", "-v", "error", "-y", "-i", original, "-c:a", codec, *settings, coded)
            run("ffmpeg", "-v", "error", "-y", "-i", coded, "-ar", RATE, back)
            return back, packet_bits(coded, "a") / length / 1000

        def ours(weights, mode):
            latents, back = self.work / "x.h5", self.work / "ours.mkv"
            c = settings_of(weights)
            counts = json.loads(run(self.args.lockstep, "encode", original, "--codec", weights, "--mode", mode, "--json", "-o", latents))
            token_bits = 0 if mode == "continuous" else int(c["stages"]) * math.log2(int(c["entries"]))
            run(self.args.lockstep, "decode", latents, "--codec", weights, "--acodec", "pcm", "-o", back)
            return back, (counts["audio_latents"] * token_bits + counts.get("audio_bits", 0)) / length / 1000

        def linear(numbers):
            (mean, v), back = self.linear, self.work / "linear.wav"
            p = v[:, :numbers]
            self.write(back, self.from_vectors((self.vectors(x) - mean) @ p @ p.T + mean, len(x)))
            return back, None

        for k in (6, 8, 12, 16, 24):
            yield (f"Opus {k}", "Opus"), functools.partial(rival, "libopus", "ogg", "-b:a", k * 1000)
        for k in (1300, 2400, 3200):
            yield (f"Codec2 {k / 1000:.1f}", "Codec2"), functools.partial(rival, "libcodec2", "c2", "-ar", 8000, "-mode", k)
        for w in self.weights:
            for mode in ("tokens", "continuous", "both"):
                yield (f"{name_of(w)}, {mode}", name_of(w), w), functools.partial(ours, w, mode)
        if self.fit:
            for numbers in sorted({int(settings_of(w)["continuous"]) for w in self.weights} | {32}):
                yield (f"linear, {numbers} numbers", "linear"), functools.partial(linear, numbers)

    def original(self):
        return self.work / "original.wav"

    def also(self, x, kbps):
        return {}


# ---- pictures

def blocks(x, t, s):
    n, h, w, _ = x.shape
    n -= n % t
    y = x[:n].reshape(n // t, t, h // s, s, w // s, s, 3).transpose(0, 2, 4, 1, 3, 5, 6)
    return y.reshape(-1, t * s * s * 3).astype(np.float64) / 127.5 - 1, (n // t, h // s, w // s)


def from_blocks(y, shape, t, s):
    n, h, w = shape
    x = y.reshape(n, h, w, t, s, s, 3).transpose(0, 3, 1, 4, 2, 5, 6).reshape(n * t, h * s, w * s, 3)
    return np.clip((x + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)


class Pictures:
    kind, unit = "pictures", "kbit/s"
    measures = [("bpp", "bits a pixel"), ("psnr_db", "PSNR dB"), ("bound_db", "bound dB"), ("ssim", "SSIM"), ("flicker_levels", "flicker")]

    def __init__(self, args, work):
        self.args, self.work, self.weights, self.fit = args, work, args.vae, args.fit_picture
        self.width, self.height = map(int, args.size.split("x"))
        self.fitted, self.fps = {}, 25.0

    def read(self, path):
        rate = run("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=avg_frame_rate", "-of", "csv=p=0", path)
        top, bottom = rate.strip().strip(",").split("/")
        self.fps = float(top) / float(bottom)
        side = f"scale={self.width}:{self.height}:force_original_aspect_ratio=increase:flags=area,crop={self.width}:{self.height}"
        raw = run("ffmpeg", "-v", "error", "-i", path, "-an", "-vf", side, "-fps_mode", "passthrough", "-frames:v", self.args.frames,
                  "-f", "rawvideo", "-pix_fmt", "rgb24", "-", text=False)
        return np.frombuffer(raw, np.uint8).reshape(-1, self.height, self.width, 3)

    def write(self, path, x):
        run("ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", self.args.size, "-r", self.fps, "-i", "-",
            "-c:v", "ffv1", "-pix_fmt", "bgr0", path, text=False, input=x.tobytes())

    def linear(self, t, s):
        if (t, s) not in self.fitted:
            fps = self.fps
            self.fitted[t, s] = components(lambda f: blocks(self.read(f), t, s)[0], self.fit)
            self.fps = fps
        return self.fitted[t, s]

    def squares(self, x):
        mean, v = self.linear(*BLOCK)
        return (((blocks(x, *BLOCK)[0] - mean) @ v) ** 2).mean(0)

    def bpp(self, kbps):
        return 1000 * kbps / self.fps / (self.width * self.height)

    def bound(self, squares, kbps):
        pixels = BLOCK[0] * BLOCK[1] ** 2
        return 10 * math.log10(4 * len(squares) / least_distortion(squares, self.bpp(kbps) * pixels))

    def curve(self, squares):
        to_kbps = self.fps * self.width * self.height / 1000
        return [[r * to_kbps, self.bound(squares, r * to_kbps)] for r in PICTURE_CURVE_BPP]

    def jobs(self, x):
        original, length = self.original(), len(x) / self.fps
        self.write(original, x)

        def rival(codec, crf, more):
            coded = self.work / "x.mp4"
            run("ffmpeg", "-v", "error", "-y", "-i", original, "-c:v", codec, "-crf", crf, "-g", 999, "-pix_fmt", "yuv420p", *more, coded)
            return coded, packet_bits(coded, "v") / length / 1000

        def ours(weights):
            latents, back = self.work / "x.h5", self.work / "ours.mkv"
            counts = json.loads(run(self.args.lockstep, "encode", original, "--vae", weights, "--json", "-o", latents))
            run(self.args.lockstep, "decode", latents, "--vae", weights, "--vcodec", "ffv1", "-o", back)
            return back, counts["video_bits"] / length / 1000

        def linear(t, s, numbers):
            (mean, v), back = self.linear(t, s), self.work / "linear.mkv"
            y, shape = blocks(x, t, s)
            p = v[:, :numbers]
            self.write(back, from_blocks((y - mean) @ p @ p.T + mean, shape, t, s))
            return back, None

        for crf in (18, 24, 30, 36, 42):
            yield (f"x264 crf {crf}", "x264"), functools.partial(rival, "libx264", crf, ["-preset", "slow", "-threads", 1])
        for crf in (20, 30, 40, 50):
            yield (f"SVT-AV1 crf {crf}", "SVT-AV1"), functools.partial(rival, "libsvtav1", crf, ["-preset", 6, "-svtav1-params", "lp=1"])
        shapes = set()
        for w in self.weights:
            variant = settings_of(w)["variant"]
            shapes.add(tuple(int(k) for k in variant[1:].replace("s", " ").replace("c", " ").split()))
            yield (f"{name_of(w)} ({variant})", name_of(w), w), functools.partial(ours, w)
        for t, s, c in sorted(shapes) if self.fit else ():
            yield (f"linear t{t}s{s}c{c}", "linear"), functools.partial(linear, t, s, c)

    def original(self):
        return self.work / "original.mkv"

    def also(self, x, kbps):
        return {} if kbps is None else {"bpp": self.bpp(kbps)}


# ---- rows

class Rows:
    """Rows by their keys, in a file of JSON lines to which each is added as it is measured."""

    def __init__(self, path):
        self.path, self.rows = path, {}
        if path and path.exists():
            for line in path.read_text().splitlines():
                try:
                    row = json.loads(line)
                    self.rows[row["key"]] = row
                except ValueError:
                    pass  # cut off while it was written

    def get(self, key, make):
        if key not in self.rows:
            self.rows[key] = {"key": key, **make()}
            if self.path:
                with open(self.path, "a") as f:
                    f.write(json.dumps(self.rows[key]) + "\n")
        return self.rows[key]


def measure(side, rows, group, path, fit):
    """All rows of one clip."""
    x = side.read(path)
    about = {"kind": side.kind, "group": group, "clip": pathlib.Path(path).name}
    clip = digest(side.kind, side.args.size if side.kind == "pictures" else RATE, x.tobytes())
    squares = functools.cache(lambda: side.squares(x))

    def one(system, family, copy):
        start = time.monotonic()
        made, kbps = copy()
        f = json.loads(run(side.args.lockstep, "fidelity", side.original(), made, "--json"))
        row = {**about, "system": system, "family": family, "kbps": kbps, **side.also(x, kbps), **{k: v for k, v in f.items() if k != "copy"}}
        if kbps and fit:
            row["bound_db"] = side.bound(squares(), kbps)
        print(f"{group} {about['clip']}: {system}, {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
        return row
    for (system, family, *weights), copy in side.jobs(x):
        try:
            key = digest(clip, fit, system, *(pathlib.Path(w).read_bytes() for w in weights))
            yield rows.get(key, functools.partial(one, system, family, copy))
        except RuntimeError as why:
            print(f"{system} left out: {why}", file=sys.stderr)
    if fit:
        yield rows.get(digest(clip, fit, BOUND), lambda: {**about, "system": BOUND, "family": BOUND, "curve": side.curve(squares())})


def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else None


def in_groups(measured, by="system"):
    """{(group, system): rows}, in order."""
    table = {}
    for r in measured:
        table.setdefault((r["group"], r[by]), []).append(r)
    return table


def print_table(side, measured):
    print(f"\n| {side.kind} | system | {side.unit} | " + " | ".join(k for _, k in side.measures) + " |")
    print("|" + " --- |" * (3 + len(side.measures)))
    for (group, system), rows in in_groups(measured).items():
        if system != BOUND:
            cells = [(mean([r["kbps"] for r in rows]), 1 if side.kind == "pictures" else 2)]
            cells += [(mean([r.get(k) for r in rows]), 1 if k.endswith("_db") else 2 if k != "ssim" else 3) for k, _ in side.measures]
            print(f"| {group} | {system} | " + " | ".join("-" if v is None else f"{v:.{d}f}" for v, d in cells) + " |")


# ---- the picture of it

def line_of(rows, key):
    """Points of one line: means over clips."""
    if rows[0]["family"] == BOUND:
        return np.mean([r["curve"] for r in rows], 0) if key in ("si_sdr_db", "psnr_db") else []
    points = [(mean([r["kbps"] for r in same]), mean([r.get(key) for r in same])) for same in in_groups(rows).values()]
    return sorted(p for p in points if None not in p and (key != "si_sdr_db" or p[1] > -5))


def draw(axes, ticker, measured, key, title):
    groups = list(dict.fromkeys(r["group"] for r in measured))
    families = list(dict.fromkeys(r["family"] for r in measured))
    for (group, family), rows in in_groups(measured, "family").items():
        points = line_of(rows, key)
        if len(points):
            axes.plot(*zip(*points), ("-", "--", ":", "-.")[groups.index(group) % 4], marker="" if family == BOUND else ".",
                      color="0.6" if family == BOUND else f"C{families.index(family)}", label=f"{family}, {group}")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlabel("kbit/s")
    axes.set_title(title, fontsize=10)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=7, ncol=2, loc="upper center", bbox_to_anchor=(0.5, -0.15))


def plot(path, sound, pictures):
    try:
        import matplotlib
    except ImportError:
        print("No plot: matplotlib is missing.", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker
    panels = [(sound, "si_sdr_db", "sound: SI-SDR, dB"), (sound, "mel", "sound: mel distance"), (pictures, "psnr_db", "pictures: PSNR, dB")]
    panels = [p for p in panels if p[0]]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), 4.8), squeeze=False)
    for a, (rows, key, title) in zip(axes[0], panels):
        draw(a, ticker, rows, key, title)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("lockstep")
    ask.add_argument("--rows", type=pathlib.Path, help="JSON lines; what is there is not measured again")
    ask.add_argument("--plot", help="PNG")
    ask.add_argument("--seconds", type=float, default=20)
    ask.add_argument("--frames", type=int, default=64)
    ask.add_argument("--size", default="128x128")
    for what in ("sound", "picture"):
        ask.add_argument(f"--{what}", nargs="+", action="append", default=[], metavar="GROUP FILE", help="a name and files")
        ask.add_argument(f"--fit-{what}", nargs="+", default=[], help="files the linear codes are fitted on")
    ask.add_argument("--codec", nargs="+", default=[])
    ask.add_argument("--vae", nargs="+", default=[])
    args = ask.parse_args()
    rows, measured = Rows(args.rows), {}
    with tempfile.TemporaryDirectory() as scratch:
        for side, groups in ((Sound(args, pathlib.Path(scratch)), args.sound), (Pictures(args, pathlib.Path(scratch)), args.picture)):
            tested = {pathlib.Path(p).resolve() for _, *files in groups for p in files}
            if tested & {pathlib.Path(p).resolve() for p in side.fit}:
                sys.exit(f"A file that is measured is among those of --fit-{side.kind.rstrip('s')}: take it out of one of them.")
            fit = digest(*((p, pathlib.Path(p).stat().st_size) for p in side.fit)) if side.fit else ""
            found = [r for name, *files in groups for p in files for r in measure(side, rows, name, p, fit)]
            if found:
                print_table(side, found)
            measured[side.kind] = found
    if args.plot:
        plot(args.plot, measured["sound"], measured["pictures"])


if __name__ == "__main__":
    main()
