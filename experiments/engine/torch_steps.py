#!/usr/bin/env python3
"""Whole training steps, Lockstep beside PyTorch on the CPU: time, memory, losses.

    python3 experiments/engine/torch_steps.py build/kernels/bench_steps [--rounds 5] [--only video]

For every model of kernels/bench/models.c, in f32 and bf16, the two programs take turns; each turn
is a process of its own that trains the same network (same weights, same data, AdamW) with the same
number of threads.  PyTorch runs eagerly with its fused AdamW, bf16 through autocast, and with the
memory format that is faster for it.  Printed: median step time, growth of the resident memory
over the time before the network was made, and the largest relative difference of the losses in f32
over --loss-steps steps (those of the timed turns when they are as many).  The transformer in f32 makes cheap values again instead of keeping them
(--recompute of bench_steps).  Needs torch and numpy.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

MODELS = ("transformer", "audio", "video")
RECOMPUTE = (("transformer", "f32"),)
DECAY, BETAS, EPS = 0.01, (0.9, 0.95), 1e-8


def read_safetensors(path):
    import numpy as np
    with open(path, "rb") as f:
        n = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(n))
        data = f.read()
    out = {}
    for name, t in header.items():
        if name != "__metadata__":
            a, b = t["data_offsets"]
            assert t["dtype"] == "F32"
            out[name] = np.frombuffer(data[a:b], "<f4").reshape(t["shape"]).copy()
    return out


def rss_now():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rss_peak():
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024


# ---- the networks, as functions of a dictionary of weights ----

def network(name, torch, channels_last):
    F = torch.nn.functional

    def dense(w, p, x):
        return F.linear(x, w[p + ".weight"], w[p + ".bias"])

    def transformer(w, x):
        def norm(p, x):
            return F.layer_norm(x, x.shape[-1:], w[p + ".weight"], w[p + ".bias"], 1e-5)

        b, n, c = x.shape
        for i in range(6):
            s = f"blocks.{i}."
            qkv = dense(w, s + "qkv", norm(s + "norm1", x)).view(b, n, 3, 4, c // 4)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
            x = x + dense(w, s + "proj", y)
            x = x + dense(w, s + "fc2", F.gelu(dense(w, s + "fc1", norm(s + "norm2", x))))
        return dense(w, "head", norm("norm", x))

    def snake(w, p, x):
        a = w[p].view(1, -1, 1)
        return x + torch.sin(a * x).square() / a

    def conv1(w, p, x, lo, stride=1, dilation=1):
        return F.conv1d(F.pad(x, (lo, 0)), w[p + ".weight"], w[p + ".bias"], stride, 0, dilation)

    def units(w, s, x):
        for i, d in enumerate((1, 3, 9)):
            u = f"{s}unit{i}."
            h = conv1(w, u + "conv1", snake(w, u + "alpha1", x), 6 * d, dilation=d)
            x = x + conv1(w, u + "conv2", snake(w, u + "alpha2", h), 0)
        return x

    def audio(w, x):
        strides = (4, 4, 5)
        x = conv1(w, "in", x, 6)
        for i, r in enumerate(strides):
            s = f"down{i}."
            x = conv1(w, s + "conv", snake(w, s + "alpha", units(w, s, x)), r, stride=r)
        x = conv1(w, "mid2", conv1(w, "mid", x, 2), 6)
        for i in (2, 1, 0):
            s, r = f"up{i}.", strides[i]
            n = x.shape[-1] * r
            x = F.conv_transpose1d(snake(w, s + "alpha", x), w[s + "conv.weight"],
                                   w[s + "conv.bias"], r)[..., :n]
            x = units(w, s, x)
        return torch.tanh(conv1(w, "out", snake(w, "alpha", x), 6))

    def conv3(w, p, x, stride=1):
        return F.conv3d(F.pad(x, (1, 1, 1, 1, 2, 0)), w[p + ".weight"], w[p + ".bias"], stride)

    def group(w, p, x):
        return F.silu(F.group_norm(x, 8, w[p + ".weight"], w[p + ".bias"], 1e-5))

    def unit(w, s, x):
        h = conv3(w, s + "conv1", group(w, s + "norm1", x))
        return x + conv3(w, s + "conv2", group(w, s + "norm2", h))

    def video(w, x):
        strides = ((1, 2, 2), (2, 2, 2))
        x = conv3(w, "in", x)
        for i, r in enumerate(strides):
            x = conv3(w, f"down{i}.conv", unit(w, f"down{i}.unit.", x), r)
        x = unit(w, "mid.", x)
        for i in (1, 0):
            r = strides[i]
            t, h, v = x.shape[2:]
            size = ((t - 1) * r[0] + 1, 2 * h, 2 * v)
            x = F.conv_transpose3d(x, w[f"up{i}.conv.weight"], w[f"up{i}.conv.bias"], r)
            x = x[:, :, 2:2 + size[0], 1:1 + size[1], 1:1 + size[2]]
            if channels_last:
                x = x.contiguous(memory_format=torch.channels_last_3d)
            x = unit(w, f"up{i}.unit.", x)
        return conv3(w, "out", group(w, "norm", x))

    return {"transformer": transformer, "audio": audio, "video": video}[name]


def to_torch(torch, name, array, channels_last):
    """Channels-last weights and maps to PyTorch's order of dimensions."""
    t = torch.from_numpy(array)
    if t.dim() > 2 and name not in ("x", "target") or t.dim() == 5:
        t = t.movedim(-1, 1).contiguous()
    elif name == "x" and t.shape[-1] == 1:
        t = t.movedim(-1, 1).contiguous()
    if channels_last and t.dim() == 5:
        t = t.contiguous(memory_format=torch.channels_last_3d)
    return t


def run_torch(o):
    import numpy as np  # noqa: F401 (part of the baseline)
    import torch
    torch.set_num_threads(o.threads)
    base = rss_now()
    arrays = read_safetensors(o.start)
    x = to_torch(torch, "x", arrays.pop("x"), o.channels_last)
    target = to_torch(torch, "target", arrays.pop("target"), False) if "target" in arrays else x
    w = {k: torch.nn.Parameter(to_torch(torch, k, v, o.channels_last)) for k, v in arrays.items()}
    arrays.clear()
    f = network(o.model, torch, o.channels_last)
    groups = [{"params": [p for p in w.values() if (p.dim() > 1) == decays],
               "weight_decay": DECAY * decays} for decays in (True, False)]
    opt = torch.optim.AdamW(groups, lr=o.rate, betas=BETAS, eps=EPS, fused=True)
    losses, seconds = [], []
    for _ in range(o.steps):
        start = time.perf_counter()
        opt.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=o.dtype == "bf16"):
            y = f(w, x)
        loss = torch.nn.functional.mse_loss(y.float(), target)
        loss.backward()
        opt.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"step_s": statistics.median(seconds[2:] or seconds),
                      "memory_bytes": rss_peak() - base, "losses": losses}))


def child(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def ours(o, model, dtype, steps, *more):
    return child([o.bench, model, "--dtype", dtype, "--steps", str(steps), "--threads",
                  str(o.threads), "--rate", str(o.rate), *(["--recompute"] if (model, dtype) in RECOMPUTE else []), *more])


def theirs(o, model, dtype, steps, start, channels_last):
    return child([sys.executable, __file__, o.bench, "--child", "--model", model, "--dtype", dtype,
                  "--steps", str(steps), "--threads", str(o.threads), "--rate", str(o.rate), "--start", start]
                 + (["--channels-last"] if channels_last else []))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("bench", help="build/kernels/bench_steps")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=8, help="a turn")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--only", choices=MODELS)
    p.add_argument("--dtypes", nargs="+", choices=("f32", "bf16"), default=("f32", "bf16"))
    p.add_argument("--loss-steps", type=int, default=50, help="compared in f32; 0: none")
    p.add_argument("--rate", type=float, default=3e-4, help="learning rate, constant: no warm-up")
    for hidden in ("--model", "--start"):
        p.add_argument(hidden, help=argparse.SUPPRESS)
    p.add_argument("--dtype", default="f32", help=argparse.SUPPRESS)
    p.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--channels-last", action="store_true", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.child:
        return run_torch(o)
    import torch
    print(f"PyTorch {torch.__version__}, {o.threads} threads, {o.rounds} rounds of {o.steps} steps\n")
    print("| model | type | Lockstep ms | PyTorch ms | ratio | Lockstep MiB | PyTorch MiB | ratio | losses |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS if not o.only else (o.only,):
            start = os.path.join(folder, model + ".safetensors")
            ours(o, model, "f32", 1, "--dump", start)
            for dtype in o.dtypes:
                last = model == "video" and min(
                    (theirs(o, model, dtype, 4, start, c)["step_s"], c) for c in (False, True))[1]
                a, b = [], []
                for _ in range(o.rounds):
                    a.append(ours(o, model, dtype, o.steps))
                    b.append(theirs(o, model, dtype, o.steps, start, last))
                ms = [1e3 * statistics.median(r["step_s"] for r in x) for x in (a, b)]
                mib = [max(r["memory_bytes"] for r in x) / 2**20 for x in (a, b)]
                worst = "-"
                if dtype == "f32" and o.loss_steps:
                    n = o.loss_steps
                    u = a[0]["losses"] if n <= o.steps else ours(o, model, dtype, n)["losses"]
                    v = (b[0] if n <= o.steps else theirs(o, model, dtype, n, start, last))["losses"]
                    worst = f"{max(abs(s - t) / abs(t) for s, t in zip(u, v)):.1e}"
                print(f"| {model} | {dtype} | {ms[0]:.1f} | {ms[1]:.1f} | {ms[0] / ms[1]:.2f} "
                      f"| {mib[0]:.0f} | {mib[1]:.0f} | {mib[0] / mib[1]:.2f} | {worst} |", flush=True)


if __name__ == "__main__":
    main()
