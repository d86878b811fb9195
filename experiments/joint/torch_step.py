#!/usr/bin/env python3
"""A training step of the joint model beside the same model in PyTorch, on the same CPU.

    experiments/joint/torch_step.py build/lockstep --data D.h5 --vae V --codec C --preset tiny --dtype bf16 --threads 2

`lockstep train joint` makes --steps steps and its log says how long one took; then the same network (av/joint/network.c:
same layers, widths, tokens, masks), flow loss, gradient norm, AdamW and averaged weights in PyTorch, eager, with the
sizes that the run has.  Turn and turn about, --rounds times; medians.
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

import torch
import torch.nn.functional as F
from torch import nn

PRESETS = {"tiny": (128, 4, 3, 2), "small": (192, 6, 6, 2), "base": (512, 8, 8, 4)}


def turned(x, turn):
    """x [B, H, N, D]; turn [B, 1, N, 2, P]: neighbours in pairs, the first 2 P numbers."""
    cos, sin = turn[..., 0, :], turn[..., 1, :]
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class RMSNorm(nn.RMSNorm):
    def forward(self, x):  # weights of x's type, so that autocast keeps the fused kernel
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), 1e-5)


class Attend(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.q_norm, self.k_norm = RMSNorm(width // heads), RMSNorm(width // heads)

    def forward(self, x, keys, mask=None, turn=None, key_turn=None, back=None):
        b, n, w = x.shape
        split = lambda y: y.reshape(b, y.shape[1], self.heads, -1).transpose(1, 2)
        q = self.q_norm(split(self.q(x)))
        k, v = self.kv(keys).chunk(2, -1)
        k, v = self.k_norm(split(k)), split(v)
        if turn is not None:
            q, k = turned(q, turn), turned(k, key_turn)
        if back is not None:
            v = turned(v, key_turn)
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask)
        if back is not None:
            y = turned(y, back)
        return self.out(y.transpose(1, 2).reshape(b, n, w))


class Feed(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))


class Text(nn.Module):
    def __init__(self, width, heads, blocks):
        super().__init__()
        self.table = nn.Embedding(256, width)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(2 * blocks + 1))
        self.attend = nn.ModuleList(Attend(width, heads) for _ in range(blocks))
        self.feed = nn.ModuleList(Feed(width) for _ in range(blocks))

    def forward(self, text, turn):
        x = self.table(text)
        for i, (attend, feed) in enumerate(zip(self.attend, self.feed)):
            h = self.norms[2 * i](x)
            x = x + attend(h, h, None, turn, turn)
            x = x + feed(self.norms[2 * i + 1](x))
        return self.norms[-1](x)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.own = nn.ParameterList(nn.Parameter(torch.zeros(9, width)) for _ in range(2))
        self.meet = nn.ParameterList(nn.Parameter(torch.zeros(3, width)) for _ in range(2))
        for name in ("self", "text", "script", "exchange"):
            setattr(self, name + "_", nn.ModuleList(Attend(width, heads) for _ in range(2)))
        self.feed = nn.ModuleList(Feed(width) for _ in range(2))


def modulated(x, rows, i):
    return F.layer_norm(x, x.shape[-1:]) * (1 + rows[:, i, None]) + rows[:, i + 1, None]


class Joint(nn.Module):
    def __init__(self, width, heads, blocks, text_blocks, channels, patch, places, scene, still):
        super().__init__()
        self.places, self.scene, self.still = places, scene, still
        pairs = width // heads // 2
        self.half = pairs // 2
        self.each = (channels[0] * patch * patch, channels[1])
        extra = (1 + 2 * (pairs - self.half), 1)
        self.enter = nn.ModuleList(nn.Linear(self.each[s] + extra[s], width) for s in range(2))
        self.level = nn.ModuleList(
            nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()) for _ in range(2))
        self.own = nn.ModuleList(nn.Linear(width, 9 * width) for _ in range(2))
        self.meet_own = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.meet_other = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.last = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.leave = nn.ModuleList(nn.Linear(width, self.each[s]) for s in range(2))
        self.text = Text(width, heads, text_blocks)
        if places:
            self.what, self.where, self.laid = nn.Linear(2 * width, width), nn.Linear(128, width), nn.Linear(width, width)
        if scene:
            self.seen, self.stays = nn.Linear(self.each[0], width), nn.Linear(width, self.each[0])
            self.kept = nn.ModuleList(nn.Linear(width, self.each[s]) for s in range(2))
        if still:
            self.stillness = nn.Linear(width, self.each[0])
        self.register_buffer("speeds", torch.logspace(0, 3, 32))
        self.balance = nn.Parameter(torch.zeros(2))

    @staticmethod
    def cells(z):
        return z["x"][0].shape[1] // z["latents"]

    def forward(self, z):
        x, c, own, meet = [], [], [], []
        prompt = self.text(z["bytes"], z["byte_turn"])
        events = self.text(z["letters"], z["letter_turn"]).mean(1)[z["event_text"]]
        for s in range(2):
            parts = [z["x"][s], z["held"][s]]
            if s == 0:
                parts.append(z["turn"][0][:, 0, :, :, self.half:].flatten(-2))
            x.append(self.enter[s](torch.cat(parts, -1)))
            if s == 0 and self.scene:
                signal = 1 - z["level"][0][:, :, None] * (1 - z["held"][0][:, :: self.cells(z)])
                scene = (z["x"][0].unflatten(1, (-1, self.cells(z))) * signal[..., None]).sum(1, keepdim=True)
                scene = scene / (signal.square().sum(1)[:, None, None] + 1)
                x[0] = (x[0].unflatten(1, (-1, self.cells(z))) + self.seen(scene)).flatten(1, 2)
            if s == 0 and self.places:
                what = (z["what"] @ events.float()).reshape(*x[0].shape[:2], -1)
                x[0] = x[0] + self.laid(F.gelu(self.what(what) + self.where(z["where"]), approximate="tanh"))
            angle = z["level"][s] * self.speeds
            c.append(self.level[s](torch.cat((angle.sin(), angle.cos()), -1)))
            own.append(self.own[s](c[s]).unflatten(-1, (9, -1)))
        for s in range(2):
            meet.append((self.meet_own[s](c[s]) + self.meet_other[s](c[1 - s])).unflatten(-1, (3, -1)))
        for block in self.blocks:
            o = [own[s] + block.own[s] for s in range(2)]
            m = [meet[s] + block.meet[s] for s in range(2)]
            for s in range(2):
                h = modulated(x[s], o[s], 0)
                x[s] = x[s] + o[s][:, 2, None] * block.self_[s](h, h, None, z["turn"][s], z["turn"][s])
                h = modulated(x[s], o[s], 3)
                y = block.text_[s](h, prompt)
                y = y + block.script_[s](h, events, z["script"][s], z["turn"][s], z["event_turn"], z["back"][s])
                x[s] = x[s] + o[s][:, 5, None] * y
            h = [modulated(x[s], m[s], 0) for s in range(2)]
            y = [block.exchange_[s](h[s], h[1 - s], z["window"][s], z["turn"][s], z["turn"][1 - s], z["back"][s])
                 for s in range(2)]
            for s in range(2):
                x[s] = x[s] + m[s][:, 2, None] * y[s]
                x[s] = x[s] + o[s][:, 8, None] * block.feed[s](modulated(x[s], o[s], 6))
        loss = 0
        for s in range(2):
            rows = self.last[s](c[s]).unflatten(-1, (2, -1))
            h = modulated(x[s], rows, 0)
            clean = self.leave[s](h)
            if self.scene:
                clean = clean + self.kept[s](h) * z["x"][s]
            if s == 0 and self.scene:
                clean = clean + (self.stays(h).unflatten(1, (-1, self.cells(z))) * scene).flatten(1, 2)
            clean = clean.float()
            if s == 0 and self.still:
                said, given, held, still = (t.unflatten(1, (-1, self.cells(z))) for t in (
                    clean, z["x"][0], z["held"][0], torch.sigmoid(self.stillness(h).float() + 1)))
                mean = (still * (said + held * (given - said))).sum(1, keepdim=True) / (still.sum(1, keepdim=True) + 1e-3)
                clean = (said + still * (mean - said)).flatten(1, 2)
            v = (z["x"][s] - clean) / z["level"][s].clamp(0.05, 1)[:, :, None]
            loss = loss + (-self.balance[s]).exp() * (v - z["target"][s]).square().mean() + self.balance[s]
        return loss


def inputs(a, width, heads):
    """Random numbers where numbers do not matter for the time; masks that are as full as the run's."""
    d, pairs = a.sizes, width // heads // 2
    n = (d["latents"] * math.ceil(d["rows"] / a.patch) * math.ceil(d["columns"] / a.patch), d["sounds"])
    each = (d["video_channels"] * a.patch ** 2, d["audio_channels"])
    b, g = d["batch"], torch.Generator().manual_seed(1)
    seconds = [torch.linspace(0, d["seconds"], k) for k in n]
    event = torch.rand(b, d["events"], generator=g).mul(d["seconds"]).sort().values
    angle = lambda k: torch.rand(b, 1, k, pairs, generator=g) * 6.28
    turns = [angle(k) for k in n]
    table = lambda t: torch.stack((t.cos(), t.sin()), -2)
    window = (seconds[0][:, None] - seconds[1]).abs() < 0.22
    return {
        "x": [torch.randn(b, n[s], each[s], generator=g) for s in range(2)],
        "target": [torch.randn(b, n[s], each[s], generator=g) for s in range(2)],
        "held": [torch.zeros(b, n[s], 1) for s in range(2)],
        "level": [torch.rand(b, 1, generator=g) for s in range(2)],
        "turn": [table(t) for t in turns],
        "back": [table(-t) for t in turns],
        "bytes": torch.randint(0, 256, (b, d["prompt_bytes"]), generator=g),
        "byte_turn": table(angle(d["prompt_bytes"])),
        "letters": torch.randint(0, 256, (d["event_texts"], d["event_bytes"]), generator=g),
        "letter_turn": table(torch.rand(1, 1, d["event_bytes"], pairs, generator=g)),
        "event_text": torch.randint(0, d["event_texts"], (b, d["events"]), generator=g),
        "event_turn": table(angle(d["events"])),
        "script": [((t[:, None] - event[:, None, None]).abs() < 0.22) for t in seconds],
        "window": [window, window.T],
        "latents": d["latents"],
        "what": torch.rand(b, 2 * n[0], d["events"], generator=g),
        "where": torch.rand(b, n[0], 128, generator=g),
    }


def torch_turn(a):
    width, heads, blocks, text_blocks = PRESETS[a.preset]
    blocks = a.blocks or blocks
    torch.manual_seed(1)
    m = Joint(width, heads, blocks, text_blocks, (a.sizes["video_channels"], a.sizes["audio_channels"]), a.patch,
              a.places, a.scene, a.still)
    z = inputs(a, width, heads)
    optim = torch.optim.AdamW(m.parameters(), 5e-4, (0.9, 0.99), fused=True)
    average = [p.detach().clone() for p in m.parameters()]
    times = []
    for _ in range(a.steps):
        start = time.perf_counter()
        optim.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=a.dtype == "bf16"):
            loss = m(z)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1)
        optim.step()
        torch._foreach_lerp_(average, [p.detach() for p in m.parameters()], 0.001)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[2:]), sum(p.numel() for p in m.parameters())


def lockstep_turn(a, run):
    log = run / "log.jsonl"
    subprocess.run(["rm", "-rf"] + [f for f in run.glob("*") if f.name != "latents"])
    command = [a.lockstep, "train", "joint", f"data=[{','.join(a.data)}]", f"tokenizers.vae={a.vae}",
               f"tokenizers.codec={a.codec}", f"tokenizers.batch={a.batch}", f"model.preset={a.preset}", f"model.blocks={a.blocks}",
               f"model.patch={a.patch}", f"model.places={str(a.places).lower()}", f"model.scene={str(a.scene).lower()}", f"model.still={str(a.still).lower()}",
               f"train.steps={a.steps}", f"train.compute={a.dtype}", "train.log_every=1",
               "train.save_every=0", "-o", run]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return statistics.median([r["step_ms"] for r in rows if "step_ms" in r][2:])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("lockstep")
    p.add_argument("--data", nargs="+", required=True)
    p.add_argument("--vae", required=True)
    p.add_argument("--codec", required=True)
    p.add_argument("--preset", default="tiny")
    p.add_argument("--patch", type=int, default=2)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--places", action="store_true")
    p.add_argument("--scene", action="store_true")
    p.add_argument("--still", action="store_true")
    p.add_argument("--blocks", type=int, default=0, help="0: the preset's")
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--sizes", type=json.loads, required=True,
                   help='{"batch": 4, "latents": 17, "rows": 8, "columns": 8, "sounds": 65, "video_channels": 16, '
                        '"audio_channels": 64, "prompt_bytes": 96, "events": 40, "event_bytes": 24, "event_texts": 50, '
                        '"seconds": 2.56}')
    a = p.parse_args()
    os.environ["LK_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(a.threads)
    torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs, weights = [], [], 0
        for _ in range(a.rounds):
            ours.append(lockstep_turn(a, pathlib.Path(folder) / "run"))
            ms, weights = torch_turn(a)
            theirs.append(ms)
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"| {a.preset} | {a.dtype} | {mine:.0f} | {other:.0f} | {mine / other:.2f} | {weights / 1e6:.2f} |")


if __name__ == "__main__":
    main()
