"""Batch 0 of a training of Lockstep, number for number, for torch_step.py --check."""
import math

import numpy as np
import torch


def philox(seed, stream, index):
    """kernels/rng.h: four words for every index."""
    word, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    c = [np.asarray(x, np.uint64) for x in (index & mask, index >> word, stream & 0xFFFFFFFF, stream >> 32)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> word) ^ c[1] ^ np.uint64(k[0]), p1 & mask, (p0 >> word) ^ c[3] ^ np.uint64(k[1]), p0 & mask]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def uniform(seed, stream, index):
    return float(int(philox(seed, stream, np.uint64(index >> 2))[index & 3]) >> 8) * 2.0 ** -24


def normal(seed, stream, shape):
    """kernels/ops/random.c"""
    n = math.prod(shape)
    v = [(w >> np.uint64(8)).astype(np.float64) for w in philox(seed, stream, np.arange((n + 3) // 4, dtype=np.uint64))]
    out = np.empty(((n + 3) // 4, 4))
    for i in (0, 2):
        r, angle = np.sqrt(-2 * np.log((v[i] + 0.5) * 2.0 ** -24)), 2 * math.pi * v[i + 1] * 2.0 ** -24
        out[:, i], out[:, i + 1] = r * np.cos(angle), r * np.sin(angle)
    return torch.from_numpy(out.reshape(-1)[:n].reshape(shape)).float()


class First:
    """Batch 0 as av/crops.c, video_vae/train.c and audio_codec/train.c make it; called by `inputs`."""

    def __init__(self, data, kind, settings):
        import h5py
        self.file, self.settings, self.kind = h5py.File(data), settings, kind
        self.seed = int(settings["train" if kind == "vae" else "model"]["seed"])
        points = self.file["clips"]["n_frames" if kind == "vae" else "n_samples"]
        self.count = np.concatenate(([0], np.cumsum(points)))

    def draw(self, crop, what, n):
        v = philox(self.seed, (crop << 8) + what, np.uint64(0))
        return (int(v[0]) << 32 | int(v[1])) % int(n)

    def piece(self, crop, n):
        clip = int(np.searchsorted(self.count, self.draw(crop, 0, self.count[-1]), "right")) - 1
        there = int(self.count[clip + 1] - self.count[clip])
        return int(self.count[clip]) + (self.draw(crop, 1, there - n + 1) if there > n else 0), min(there, n)

    def rgb(self, shape):
        out = np.empty(shape, np.float32)
        frames, (height, width) = self.file["frames"], shape[2:4]
        for j in range(shape[0]):
            stride = 1 + self.draw(j, 4, self.settings["crops"]["most_stride"])
            first, held = self.piece(j, (shape[1] - 1) * stride + 1)
            x, y = self.draw(j, 5, frames.shape[2] - width + 1), self.draw(j, 6, frames.shape[1] - height + 1)
            period = max(1, 2 * (held - 1))
            at = [min(i * stride % period, period - i * stride % period) for i in range(shape[1])]
            crop = frames[first:first + held, y:y + height, x:x + width][at]
            out[j] = (crop[:, :, ::-1] if self.draw(j, 7, 2) else crop).astype(np.float32) * np.float32(2 / 255) - 1
        return torch.from_numpy(out)

    def sound(self, shape):
        out = np.zeros(shape, np.float32)
        for j in range(shape[0]):
            first, held = self.piece(j, shape[1])
            v = philox(self.seed, (j << 8) + 2, np.uint64(0))
            db = -6 + 12 * ((int(v[0]) << 21 ^ int(v[1]) >> 11) * 2.0 ** -53)
            gain = np.float32(10 ** (db / 20)) * (1 if self.draw(j, 3, 2) else -1)
            pcm = self.file["samples"][first:first + held, 0].astype(np.float32) / 32768
            out[j, :held] = np.clip(gain * pcm, -1, 1)
        return torch.from_numpy(out)

    def on(self, shape):
        out, stages = torch.zeros(shape), shape[1] - 3
        for b in range(shape[0]):
            u = [uniform(self.seed ^ 0x9E3779B97F4A7C15, 0, 4 * b + i) for i in range(4)]
            tokens = u[0] < 0.625
            both = tokens and u[3] < np.float32(0.6)
            n = 0 if not tokens else stages if both or u[1] >= 0.5 else 1 + int(u[2] * stages)
            out[b, :n] = 1
            raw = u[3] < 1 / 6
            out[b, stages:] = torch.tensor([not tokens and not raw, both, not tokens and raw]).float()
        return out

    def disturbed(self, clip, channels):
        u = [uniform(self.seed, 0x7661655F64697374, 4 * clip + k) for k in range(4)]
        o = self.settings["train"]
        kept = 1 + int(u[2] * channels) if u[1] < o["disturbed"] else channels
        return (u[3] * o["noise"] if u[0] < o["disturbed"] else 0), (torch.arange(channels) < kept).float()

    def __call__(self, kind, shape, n):
        if kind == "noise":
            return normal(self.seed, n << 40, shape)
        if kind == "sigma":
            return torch.tensor([self.disturbed(i, 1)[0] for i in range(shape[0])]).view(shape)
        if kind == "keep":
            return torch.stack([self.disturbed(i, shape[2])[1] for i in range(shape[0])]).view(shape)
        return getattr(self, kind)(shape)
