"""The video tokenizer in PyTorch, for torch_step.py: video_vae/network.c, loss.c, loss_ssim.c."""
import math
import re

import torch
import torch.nn.functional as F


def haar(x):
    """[N, C, Y, X] -> [N, 4 C, Y / 2, X / 2]."""
    lo, hi = x[..., 0::2] + x[..., 1::2], x[..., 0::2] - x[..., 1::2]
    pairs = [(h[..., 0::2, :], h[..., 1::2, :]) for h in (lo, hi)]
    return torch.cat([a + b for a, b in pairs] + [a - b for a, b in pairs], 1) / 2


def haar_inverse(x):
    ll, lh, hl, hh = (x / 2).chunk(4, 1)
    top, bottom = (ll + hl, lh + hh), (ll - hl, lh - hh)
    cells = [f for a, b in (top, bottom) for f in (a + b, a - b)]
    return F.pixel_shuffle(torch.stack(cells, 2).flatten(1, 2), 2)


def pooled(x, t, r):
    """Means over t frames and r x r positions of [B, T, C, Y, X]; a rest is left out."""
    x = x[:, :x.shape[1] // t * t].unflatten(1, (-1, t))
    return x.unflatten(-1, (-1, r)).unflatten(-3, (-1, r)).mean((2, -3, -1))


class Vae:
    """Clips are [B, T, C, Y, X] outside; inside the layers [B, T, Y, X, C] with channels_last."""

    def __init__(self, w, settings, channels_last):
        self.w, self.last, self.c = w, channels_last, -1 if channels_last else 2
        m, self.o = settings["model"], settings["train"]
        self.time, self.space, self.channels = (int(s) for s in re.findall(r"\d+", m["variant"]))
        self.patch, self.pools, self.look = self.space // 4, self.time == 4, m["look"] == "group" and self.time > 1
        self.count = {side: sum(bool(re.fullmatch(side + r"\.fine\.block\d+\.norm\.weight", k)) for k in w.values)
                      for side in ("encoder", "decoder")}
        self.phases = [("", lambda name: self.o["train_linear"] or ".linear." not in name, self.losses)]

    def plane(self, x):
        x = x.flatten(0, 1)
        return x.movedim(-1, 1) if self.last else x

    def clip(self, x, batch):
        return (x.movedim(1, -1) if self.last else x).unflatten(0, (batch, -1))

    def inside(self, x):  # a clip from outside
        return x.movedim(2, -1).contiguous() if self.last else x

    def outside(self, x):
        return x.movedim(-1, 2) if self.last else x

    def conv(self, name, x, stride=1):
        w, b = self.w[name + ".weight"], self.w[name + ".bias"]
        if stride == 1:
            return F.conv2d(x, w, b, padding=1)
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), w, b, 2)

    def dense(self, name, x):
        if self.last:
            return self.w.linear(name, x)
        y = F.conv2d(x.flatten(0, 1), self.w[name + ".weight"][..., None, None], self.w[name + ".bias"])
        return y.unflatten(0, x.shape[:2])

    def norm(self, name, x):
        if self.last:
            return self.w.rms_norm(name, x)
        y = x.float()
        y = y * (y.square().mean(2, keepdim=True) + 1e-5).rsqrt()
        return (y * self.w[name + ".weight"][:, None, None]).to(x.dtype)

    def block(self, name, x, rate):
        h = F.silu(self.norm(name + ".norm", x))
        seen = [F.pad(h[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0)), h]
        if self.look and rate > 1:
            groups = h.unflatten(1, (-1, rate))[:, :, 1:]
            seen.append(F.pad(groups, (0, 0, 0, 0, 0, 0, 0, 1)).flatten(1, 2))
        y = self.conv(name + ".conv1", self.plane(torch.cat(seen, self.c)))
        return x + self.clip(self.conv(name + ".conv2", F.silu(y)), len(x))

    def blocks(self, name, x, count, rate):
        for i in range(count):
            x = self.block(f"{name}.block{i}", x, rate)
        return x

    def down(self, name, x):
        p = self.plane(x)
        y = self.conv(name, p, 2)
        return self.clip(y + F.pixel_unshuffle(p, 2).unflatten(1, (y.shape[1], -1)).mean(2), len(x))

    def up(self, name, x):
        p = self.plane(x)
        y = self.conv(name, F.interpolate(p, scale_factor=2, mode="nearest"))
        repeats = 4 * y.shape[1] // p.shape[1]
        return self.clip(y + F.pixel_shuffle(p.repeat_interleave(repeats, 1) if repeats > 1 else p, 2), len(x))

    def pool(self, name, x):
        a, b = x.unflatten(1, (-1, 2)).unbind(2)
        return self.dense(name, torch.cat((a, b), self.c)) + (a + b) * 0.5

    def grow(self, name, x):
        halves = self.dense(name, x).chunk(2, self.c)
        return torch.stack([h + x for h in halves], 2).flatten(1, 2)

    def bands(self, x):
        p = x.flatten(0, 1)
        for _ in range(self.patch.bit_length() - 1):
            p = haar(p)
        return p.unflatten(0, x.shape[:2])

    def from_bands(self, x):
        p = x.flatten(0, 1)
        for _ in range(self.patch.bit_length() - 1):
            p = haar_inverse(p)
        return p.unflatten(0, x.shape[:2])

    def encode(self, rgb):
        e, w = self.count["encoder"], self.w
        bands = self.bands(rgb)
        under = bands.unflatten(1, (-1, self.time)).unflatten(-1, (-1, 4)).unflatten(-3, (-1, 4))
        linear = w.linear("encoder.linear", under.permute(0, 1, 4, 6, 2, 5, 7, 3).flatten(4))
        x = self.inside(bands)
        x = self.clip(self.conv("encoder.in", self.plane(x)), len(x))
        x = self.down("encoder.down1", self.blocks("encoder.fine", x, e, self.time))
        x = self.blocks("encoder.middle", x, e, self.time)
        x = self.down("encoder.down2", self.pool("encoder.pool1", x) if self.pools else x)
        x = self.blocks("encoder.coarse", x, e, 2 if self.pools else 1)
        x = self.pool("encoder.pool2", x) if self.pools else x
        x = self.outside(self.clip(self.conv("encoder.out", self.plane(x)), len(x))).float()
        mean, log_var = x.chunk(2, 2)
        return mean + linear.float().movedim(-1, 2), log_var.clamp(-20, 10)

    def decode(self, z):
        d, w = self.count["decoder"], self.w
        linear = w.linear("decoder.linear", z.movedim(2, -1)).float()
        linear = linear.unflatten(-1, (self.time, 4, 4, -1)).permute(0, 1, 4, 7, 2, 5, 3, 6)
        x = self.inside(z)
        x = self.clip(self.conv("decoder.in", self.plane(x)), len(x))
        x = self.blocks("decoder.coarse", x, d, 1)
        x = self.up("decoder.up1", self.grow("decoder.grow1", x) if self.pools else x)
        x = self.blocks("decoder.middle", x, d, 2 if self.pools else 1)
        x = self.up("decoder.up2", self.grow("decoder.grow2", x) if self.pools else x)
        x = self.blocks("decoder.fine", x, d, self.time)
        x = self.outside(self.clip(self.conv("decoder.out", self.plane(x)), len(x))).float()
        return x + linear.flatten(1, 2).flatten(-2).flatten(-3, -2)

    # -- losses; rgb [B, T, 3, Y, X] --

    def filled(self, rgb):
        t = rgb.shape[1]
        n = self.time * (1 + -(-(t - 1) // self.time)) if self.time > 1 else t
        return rgb[:, torch.arange(n).sub(self.time - 1).clamp(0, t - 1)]

    def bands_loss(self, difference):
        weight = torch.full((difference.shape[2], 1, 1), self.o["detail_weight"])
        weight[:3] = 1
        return (difference.abs() * weight).mean()

    def scales(self, z, rgb):
        cells = [(1, 2)] + [(1, 4)] * (z.shape[3] % 4 == 0 and z.shape[4] % 4 == 0)
        cells += [(2, 2)] * (self.time > 1 and z.shape[1] >= 2)
        parts = []
        for cell in cells:
            y = self.decode(pooled(z, *cell))
            with torch.autocast("cpu", enabled=False):
                parts.append(self.bands_loss(y - self.bands(pooled(rgb, *cell)[:, :y.shape[1]])))
        return sum(parts) / len(parts)

    @staticmethod
    def correlation(mean):
        centred = mean - mean.mean((0, 1, 3, 4), keepdim=True)
        variance = centred.square().mean((0, 1, 3, 4)) + 1e-6
        r = [((centred.narrow(d, 0, n - 1) * centred.narrow(d, 1, n - 1)).mean((0, 1, 3, 4)) / variance).mean()
             for d in (1, 3, 4) if (n := mean.shape[d]) > 1]
        return sum(r) / len(r)

    def losses(self, z):
        """All numbers of the log, the loss first; z: rgb, and noise of both kinds."""
        o, rgb = self.o, z["rgb"]
        every, t = self.filled(rgb), rgb.shape[1]
        mean, log_var = self.encode(every)
        latent = mean + (log_var * 0.5).exp() * z["noise"][0]
        y = self.decode((latent + z["noise"][1] * z["sigma"]) * z["keep"])[:, self.time - 1:self.time - 1 + t]
        scales = self.scales(latent, every)
        with torch.autocast("cpu", enabled=False):
            bands = self.bands_loss(y - self.bands(rgb))
            y = self.from_bands(y)
            error = y - rgb
            grey = lambda x: (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(2).flatten(0, 1)
            ssim = ssim_loss(grey(y), grey(rgb))
            change = (error[:, 1:] - error[:, :-1]).abs().mean()
            correlation = self.correlation(mean)
            rate = ((log_var.exp() + mean.square() - 1 - log_var) / 2).mean()
            rate = rate * self.channels / (math.log(2) * self.time * self.space ** 2)
            square = error.square()
            frames = square.mean((2, 3, 4)) * 0.25 + 1e-4
            clips_db = -2.5 * frames.square().square().mean(1).log10().mean()
            psnr_db = -10 * (square.detach().mean() * 0.25 + 1e-12).log10()
            loss = (bands + o["ssim_weight"] * ssim + o["change_weight"] * change + o["scale_weight"] * scales
                    + o["correlation_weight"] * F.relu(0.75 - correlation)
                    + o["kl_weight"] * (rate / o["bits_per_pixel"] - 1).square() - o["clips_weight"] * clips_db)
        return {"loss": loss, "bands": bands, "ms_ssim": ssim, "change": change, "scales": scales,
                "correlation": correlation, "kl_bits_per_pixel": rate, "clips_db": clips_db, "psnr_db": psnr_db}

    def after_step(self, step):
        pass

    def inputs(self, make):
        """The inputs of a step; make(kind, shape, n): the n-th noise, or the clips."""
        o = self.o
        b, t, groups = o["batch"], o["frames"], -(-(o["frames"] - 1) // self.time) + 1
        shape = (b, groups, o["height"] // self.space, o["width"] // self.space, self.channels)
        return {"rgb": make("rgb", (b, t, o["height"], o["width"], 3), 0).movedim(-1, 2).contiguous(),
                "noise": [make("noise", shape, i).movedim(-1, 2).contiguous() for i in range(2)],
                "sigma": make("sigma", (b, 1, 1, 1, 1), 0), "keep": make("keep", (b, 1, self.channels, 1, 1), 0)}


BANDED = {}


def banded(kind, n):
    """[n, m]: a Gaussian window over a row, or means of pairs."""
    if (kind, n) not in BANDED:
        taps = torch.exp(-(torch.arange(11.) - 5) ** 2 / 4.5) if kind == "blur" else torch.ones(2)
        step, k = (1, 11) if kind == "blur" else (2, 2)
        m = torch.zeros(n, (n - k) // step + 1)
        for j in range(m.shape[1]):
            m[step * j:step * j + k, j] = taps / taps.sum()
        BANDED[kind, n] = m
    return BANDED[kind, n]


def both_ways(kind, x):
    return (x @ banded(kind, x.shape[2])).transpose(1, 2) @ banded(kind, x.shape[1])


def ssim_loss(x, y, span=2):
    c1, c2 = 1e-4 * span ** 2, 9e-4 * span ** 2
    weight = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    scales = next(n for n in range(1, 6) if n == 5 or min(x.shape[1:]) >> n < 11)
    total = 0
    for i in range(scales):
        mx, my, xx, yy, xy = both_ways("blur", torch.cat((x, y, x * x, y * y, x * y))).chunk(5)
        product, squares = mx * my, mx.square() + my.square()
        value = (2 * (xy - product) + c2) / (xx + yy - squares + c2)
        if i == scales - 1:
            value = value * ((2 * product + c1) / (squares + c1))
        else:
            x, y = both_ways("halve", x), both_ways("halve", y)
        total = total + value.mean((1, 2)).clamp(1e-4, 2).log() * (weight[i] / sum(weight[:scales]))
    return 1 - total.exp().mean()
