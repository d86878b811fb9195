#!/usr/bin/env python3
"""A training step of a tokenizer beside the same network in PyTorch, on the same CPU.

    experiments/tokenizers/torch_step.py build/lockstep vae --folder DIR --check
    experiments/tokenizers/torch_step.py build/lockstep vae --folder DIR --dtype bf16 --threads 2
    experiments/tokenizers/torch_step.py build/lockstep codec --folder DIR model.width=128 train.batch=8

`lockstep train vae|codec` makes --steps steps on a few clips of a world and its log says how long one took; then the
same network, losses, gradient norm, AdamW and averaged weights in PyTorch, eager, from the same weights, with the
settings of that run and the memory format that is faster for it.  Turn and turn about, --rounds times; medians.
vae: as vae_t4s8c16.yaml trains it.  codec: by default its first phase, with all stages, both Gaussian latents and the
codes' moving averages; with --late the second, a step of the discriminators and one of the decoder, where PyTorch
encodes and decodes once for both.  Lockstep's time includes reading the clips, PyTorch's does not.

PyTorch's weights are those of a Lockstep file: one that it does not use, or gives no gradient though it should be
trained, is an error, and so are numbers of weights that differ.  --check makes the first batch and its random numbers
again (torch_batch.py) and compares every number in the log, and the gradient of every weight with the first moment in
the checkpoint after one step; it needs h5py.  --folder keeps data and first weights for the next call, since those of
the codec take a while to fit.
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
import zlib

import torch
import torch.nn.functional as F
from torch import nn

import torch_batch
from torch_codec import Codec
from torch_vae import Vae

NETWORK = {"vae": Vae, "codec": Codec}
CONFIG = {"vae": pathlib.Path(__file__).parent / "vae_t4s8c16.yaml", "codec": None}
BETAS = {"vae": (0.9, 0.99), "codec": (0.8, 0.99)}
STAND_STILL = {"vae": ("train.rate=0", "train.last_rate=0"),
               "codec": ("train.rate=0", "train.floor=0", "train.adversarial_rate=0")}
CLOSE = 1e-3


# ---- weights: a Lockstep file as parameters with PyTorch's order of dimensions ----

def read_safetensors(path):
    with open(path, "rb") as f:
        n = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(n))
        data = bytearray(f.read())
    types = {"F32": torch.float32, "BF16": torch.bfloat16}
    return {name: torch.frombuffer(data, dtype=types[t["dtype"]], offset=t["data_offsets"][0],
                                   count=math.prod(t["shape"])).view(t["shape"]).float()
            for name, t in header.items() if name != "__metadata__" and t["dtype"] in types}


def torch_order(t):
    return t.movedim(-1, 1) if t.dim() > 2 else t


class Weights:
    """w[name], and which names were asked for."""

    def __init__(self, path, channels_last):
        self.used, self.values = set(), {}
        for name, t in read_safetensors(path).items():
            t = torch_order(t).contiguous()
            if channels_last and t.dim() == 4:
                t = t.contiguous(memory_format=torch.channels_last)
            if ":" not in name:  # an optimiser's state in a checkpoint
                self.values[name] = nn.Parameter(t, requires_grad=False)

    def __getitem__(self, name):
        self.used.add(name)
        return self.values[name]

    def those(self, trains):
        return {k: p.requires_grad_() for k, p in self.values.items() if trains(k)}

    def count(self):
        return sum(self.values[k].numel() for k in self.used)

    def linear(self, name, x):
        return F.linear(x, self[name + ".weight"], self[name + ".bias"])

    def rms_norm(self, name, x):  # weights of x's type, so that autocast keeps the fused kernel
        return F.rms_norm(x, x.shape[-1:], self[name + ".weight"].to(x.dtype), 1e-5)


def random_input(kind, shape, n):
    g = torch.Generator().manual_seed(n + 1)
    if kind == "on":
        return (torch.rand(shape, generator=g) < 0.5).float()
    if kind in ("sigma", "keep"):
        return torch.full(shape, float(kind == "keep"))
    x = torch.randn(shape, generator=g)
    return x if kind == "noise" else (x * 0.3).clamp(-1, 1)


# ---- turns ----

def settings_of(run):
    """config.yaml as Lockstep writes it: sections of rows."""
    out, section = {}, None
    for line in (run / "config.yaml").read_text().splitlines():
        key, value = line.split(":", 1)
        if not value.strip():
            section = out[key] = {}
        elif line.startswith(" "):
            value = value.strip()
            number = value.replace(".", "", 1).replace("e-", "", 1).replace("-", "", 1).isdigit()
            section[key.strip()] = (value == "true" if value in ("true", "false") else value if not number
                                    else int(value) if value.lstrip("-").isdigit() else float(value))
    return out


def lockstep_run(a, run, steps, *settings):
    subprocess.run(["rm", "-rf", run], check=True)
    n = [f"train.steps={1 if a.late else steps}", f"train.adversarial_steps={steps}"][:1 + a.late]
    command = [a.lockstep, "train", a.kind, *(["--config", a.config] if a.config else []), "--device", "cpu", "-o", run,
               f"data=[{a.data}]", *a.settings, *n, "train.log_every=1", "train.save_every=0", *settings]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def log_of(run):
    return [json.loads(row) for row in (phase_folder(run) / "log.jsonl").read_text().splitlines()]


def prepare(a):
    """Data and first weights: a few steps, so that no layer is silent."""
    a.data = a.folder / "data.h5"
    if not a.data.exists():
        clips = ("--world", "talker", "--count", "8", "--seconds", "2", "--size", a.size)
        subprocess.run([a.lockstep, "pack", *clips, "-o", a.data], check=True, capture_output=True)
    config = pathlib.Path(a.config).read_text() if a.config else ""
    run = a.folder / f"{a.kind}-{zlib.crc32((config + str(a.settings)).encode()):08x}"
    if not (run / "DONE").exists():
        lockstep_run(a, run, 8, "train.warmup=0", "train.average=0.1", "train.compute=f32")
    a.sizes = settings_of(run)
    a.start = a.begin = pathlib.Path(a.weights) if a.weights else run / f"{a.kind}.safetensors"
    if a.late:  # discriminators, which no run before has
        a.start = checkpoint(first_step(a, run.with_name(run.name + "-late"), "f32"))


def phase_folder(run):
    late = run / "adversarial"
    return late if late.exists() else run


def checkpoint(run):
    return sorted(phase_folder(run).glob("checkpoints/*.safetensors"))[-1]


def first_step(a, run, dtype):
    """A run whose checkpoint holds the weights it began with, and the moments of one step."""
    if not (phase_folder(run) / "DONE").exists():
        lockstep_run(a, run, 1, f"train.start_from={a.begin}", f"train.compute={dtype}", *STAND_STILL[a.kind])
    return run


def make(a, channels_last):
    w = Weights(a.start, channels_last)
    net = NETWORK[a.kind](w, a.sizes, channels_last, **({"late": True} if a.late else {}))
    return w, net, [(prefix, w.those(trains), losses) for prefix, trains, losses in net.phases]


def values_of(a, losses, z):
    with torch.autocast("cpu", torch.bfloat16, enabled=a.dtype == "bf16"):
        return losses(z)


def optimiser(a, weights):
    o = a.sizes["train"]
    groups = [{"params": [p for p in weights if (p.dim() > 1) == decays], "weight_decay": o["decay"] * decays}
              for decays in (True, False)]
    rate = o["adversarial_rate"] if a.late else o["rate"]
    return torch.optim.AdamW(groups, rate / max(1, o["warmup"]), BETAS[a.kind], fused=True)


def torch_turn(a, channels_last, steps):
    torch.manual_seed(1)
    w, net, phases = make(a, channels_last)
    z, o = net.inputs(random_input), a.sizes["train"]
    phases = [(list(weights.values()), losses) for _, weights, losses in phases]
    state = [(optimiser(a, p), [q.detach().clone() for q in p]) for p, _ in phases]
    times = []
    for step in range(steps):
        start, logged = time.perf_counter(), []
        z["noise"] = [torch.randn_like(x) for x in z["noise"]]
        for (p, losses), (optim, average) in zip(phases, state):
            optim.zero_grad(set_to_none=True)
            values = values_of(a, losses, z)
            values["loss"].backward()
            torch.nn.utils.clip_grad_norm_(p, o["clip"] or math.inf)
            optim.step()
            torch._foreach_lerp_(average, [q.detach() for q in p], 1 - min(o["average"], (step + 1) / (10 + step)))
            logged += torch.stack([v.detach() for v in values.values()]).tolist()
        net.after_step(step)
        times.append(1000 * (time.perf_counter() - start))
        assert all(map(math.isfinite, logged)), logged
    trained = {k: q for _, trains, _ in net.phases for k, q in w.those(trains).items()}
    missing = set(w.values) - w.used | {k for k, q in trained.items() if q.grad is None}
    if missing:
        raise SystemExit(f"PyTorch does not use or train {', '.join(sorted(missing))}")
    return statistics.median(times[2:] or times), w.count(), sum(q.numel() for q in trained.values())


def check(a):
    run = a.folder / "check"
    subprocess.run(["rm", "-rf", run], check=True)
    first_step(a, run, a.dtype)
    a.start = checkpoint(run) if a.late else a.begin
    row, moments = log_of(run)[0], read_safetensors(checkpoint(run))
    _, net, phases = make(a, True)
    z, worst = net.inputs(torch_batch.First(a.data, a.kind, a.sizes)), 0
    for prefix, weights, losses in phases:
        values = values_of(a, losses, z)
        values["loss"].backward()
        values["grad_norm"] = torch.stack([p.grad.square().sum() for p in weights.values()]).sum().sqrt()
        for name, v in values.items():
            it, v = row[prefix + name], v.item()
            worst = max(worst, abs(v - it) / max(1e-6, abs(it)))
            print(f"{prefix + name:20} {it:12.6g} {v:12.6g}  {abs(v - it) / max(1e-6, abs(it)):.1e}")
        norm, far = row[prefix + "grad_norm"], []
        share = (1 - BETAS[a.kind][0]) * min(1, (a.sizes["train"]["clip"] or math.inf) / norm)
        for name, p in weights.items():
            m = torch_order(moments["moment1:" + name]) / share
            far.append((((p.grad - m).norm() / (m.norm() + 1e-6 * norm)).item(), name))
        far.sort(reverse=True)
        worst = max(worst, far[0][0])
        print(f"gradients of {len(far)} weights: median {far[len(far) // 2][0]:.1e}; worst "
              + ", ".join(f"{name} {off:.1e}" for off, name in far[:5]))
    if a.dtype == "f32" and worst > CLOSE:
        raise SystemExit(f"further apart than {CLOSE}")


def measure(a):
    formats = {c: torch_turn(a, c, 4)[0] for c in (False, True)}
    last, run = min(formats, key=formats.get), a.folder / "run"
    ours, theirs = [], []
    for _ in range(a.rounds):
        lockstep_run(a, run, a.steps, f"train.start_from={a.begin}", f"train.compute={a.dtype}")
        ours.append(statistics.median([r["step_ms"] for r in log_of(run)][2:]))
        ms, n, trained = torch_turn(a, last, a.steps)
        theirs.append(ms)
    count = sum(t.numel() for k, t in read_safetensors(checkpoint(run)).items() if ":" not in k)
    if count != n:
        raise SystemExit(f"{count} numbers in Lockstep, {n} in PyTorch")
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"PyTorch {torch.__version__}: {formats[False]:.0f} ms a step, {formats[True]:.0f} with channels last; "
          f"numbers: Lockstep {count}, PyTorch {n}, {trained} of them trained; threads: {a.threads}")
    name = a.kind + ", late" * a.late
    print(f"| {name} | {a.dtype} | {mine:.0f} | {other:.0f} | {mine / other:.2f} | {n / 1e6:.2f} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("lockstep")
    p.add_argument("kind", choices=sorted(NETWORK))
    p.add_argument("settings", nargs="*", help="of `lockstep train`, as model.width=128")
    p.add_argument("--config", help="of `lockstep train`; vae: vae_t4s8c16.yaml, codec: its defaults")
    p.add_argument("--late", action="store_true", help="the codec's decoder against discriminators")
    p.add_argument("--weights", help="a tokenizer's file to begin with")
    p.add_argument("--folder", type=pathlib.Path, help="keeps data and first weights")
    p.add_argument("--size", default="64x64", help="of the clips' pictures")
    p.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--check", action="store_true", help="compare losses and gradients instead of times")
    a = p.parse_intermixed_args()
    a.config = a.config or CONFIG[a.kind]
    a.late = a.late and a.kind == "codec"
    os.environ["LK_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(a.threads)
    torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as folder:
        a.folder = a.folder or pathlib.Path(folder)
        a.folder.mkdir(parents=True, exist_ok=True)
        prepare(a)
        check(a) if a.check else measure(a)


if __name__ == "__main__":
    main()
