"""The audio codec (one channel, no labels) in PyTorch, for torch_step.py: audio_codec/net.c, linear.c, frames.c,
bottleneck.c, model.c, losses.c, codebook.c, discriminator.c, train.c."""
import math

import torch
import torch.nn.functional as F


def mel_of(hz):
    return 2595 * math.log10(1 + hz / 700)


def mel_matrix(n_fft, rate, bands):
    """[bins, bands]: triangles of area 1 over Hz (kernels/mel.c)."""
    corner = [700 * (10 ** (mel_of(rate / 2) * i / (bands + 1) / 2595) - 1) for i in range(bands + 2)]
    unit, m = rate / n_fft, torch.zeros(n_fft // 2 + 1, bands)
    for b, (lo, mid, hi) in enumerate(zip(corner, corner[1:], corner[2:])):
        bins = range(math.floor(lo / unit) + 1, math.ceil(hi / unit))
        for k in bins:
            f = k * unit
            m[k, b] = (f - lo) / (mid - lo) if f <= mid else (hi - f) / (hi - mid)
        if not bins:
            m[math.floor(mid / unit + 0.5), b] = (hi - lo) / 2 / unit
        m[:, b] *= 2 / (hi - lo)
    return m


def band_means(rate, bins, bands):
    at = torch.tensor([mel_of(rate / 2 * i / (bins - 1)) for i in range(bins)], dtype=torch.float64)
    at = at / mel_of(rate / 2) * (bands - 1)
    m = (1 - (at[:, None] - torch.arange(bands)).abs()).clamp(min=0)
    return (m / m.sum(0).clamp(min=1e-6)).float()


def overlap_weights(hop):
    """[4, 4 hop]: frames.c."""
    def rise(i, length):
        return 0 if i < 0 else 1 if i >= length else math.sin(math.pi / 2 * (i + 0.5) / length) ** 2

    def weight(i, s):
        if s >= 4 * hop:
            return 0 if i == 0 or s >= 5 * hop else (1 - rise(s - 4 * hop, hop // 4)) / 3
        r = [1 - rise(s - 3 * hop, hop)] + [rise(s - k * hop, hop) for k in range(1, 4)]
        return (rise(s, hop // 4) if s < hop // 4 else 1) * r[i] / sum(r)

    return torch.tensor([[weight(i, i * hop + n) for n in range(4 * hop)] for i in range(4)])


def unit(x):
    return F.rms_norm(x, x.shape[-1:], eps=1e-12) / math.sqrt(x.shape[-1])


class Codec:
    """Rows are [B, T, C].  channels_last: depthwise layers as pictures one row high, and the discriminators' pictures,
    in that format."""

    def __init__(self, w, settings, channels_last, late=False):
        self.w, self.last = w, channels_last
        self.m, self.o = settings["model"], settings["train"]
        rate, self.hop = self.m["rate_hz"], self.m["rate_hz"] // 100
        assert self.m["channels"] == 1 and self.m["labels"] == 0, "one channel and no labels"
        bins = 2 * self.hop + 1
        self.window = torch.hann_window(4 * self.hop) / self.hop
        self.means = band_means(rate, bins, self.m["bands"])
        self.fade = overlap_weights(self.hop)
        frames = self.fade.repeat(self.o["latents"], 1)[None]
        self.fade_sum = self.add_up(frames)
        self.hann = [torch.hann_window(32 << i) for i in range(7)]
        self.mel = [mel_matrix(32 << i, rate, 5 << i) for i in range(7)]
        self.codes = [(w[f"quantiser.{i}.codes"].data, w[f"quantiser.{i}.use"].data) for i in range(self.m["stages"])]
        self.chosen, self.made = [], None
        self.phases = [("d_", lambda name: name.startswith("discriminator."), self.judged),
                       ("", lambda name: name.startswith("decoder."), self.late)]
        if not late:
            self.phases = [("", lambda name: not name.endswith((".codes", ".use")), self.losses)]

    def conv(self, name, x):
        w, b = self.w[name + ".weight"], self.w[name + ".bias"]
        if self.last:
            x = F.pad(x, (0, 0, 6, 0)).movedim(-1, 1)[:, :, None]
            return F.conv2d(x, w[:, :, None], b, groups=len(w))[:, :, 0].movedim(1, -1)
        return F.conv1d(F.pad(x.movedim(-1, 1), (6, 0)), w, b, groups=len(w)).movedim(1, -1)

    def block(self, name, x):
        w = self.w
        h = w.linear(name + ".up", w.rms_norm(name + ".norm", self.conv(name + ".conv", x)))
        if self.m["activation"] == "snake":
            a = w[name + ".alpha"].to(h.dtype)
            h = h + torch.sin(a * h).square() / a
        else:
            h = F.gelu(h, approximate="tanh")
        h = w.linear(name + ".down", h)
        return x + h * w[name + ".scale"].to(h.dtype)

    def slow(self, name, x):  # a layer that fit.c sets, between f32 values
        return self.w.linear(name, x).float() * 0.1

    def add_up(self, frames):
        """[B, J, 4 hop] -> [B, J, hop]."""
        n, hop = frames.shape[1], self.hop
        frames = F.pad(frames, (0, 0, 3, 0))
        return sum(frames[:, 3 - age:3 - age + n, age * hop:(age + 1) * hop] for age in range(4))

    def encode(self, sound):
        w, m = self.w, self.m
        b, s = sound.shape
        with torch.autocast("cpu", enabled=False):
            x = torch.stft(F.pad(sound, (3 * self.hop, 0)), 4 * self.hop, self.hop, window=self.window, center=False,
                           return_complex=True).transpose(1, 2)
            power = (x.real.square() + x.imag.square() + 1e-10).log()
            tilt, size = (power * -0.35).exp(), (power * 0.15).exp()
            spectra = torch.stack((x.real * tilt, x.imag * tilt, size), -1).flatten(2)
            p = 0.1 * F.linear(sound.unflatten(1, (-1, 4 * self.hop)), w["encoder.linear.weight"])
            level = 0.5 * (p.square().sum(-1, keepdim=True) + 1e-7).log()
            bands = size.unflatten(1, (-1, 4)).mean(2) @ self.means
            bands = (bands + 1e-6).log() / 0.3
            h = torch.cat((p * (-level).exp(), 0.5 * level + 2, 0.25 * (bands - level) + 1.75), -1)
        x = w.linear("encoder.in", spectra)
        for i in range(m["encoder_blocks"]):
            x = self.block(f"encoder.block{i}", x)
        x = F.conv1d(F.pad(x.movedim(-1, 1), (4, 0)), w["encoder.down.weight"], w["encoder.down.bias"], 4)
        x = x.movedim(1, -1)
        for i in range(m["latent_blocks"]):
            x = self.block(f"encoder.latent{i}", x)
        x = w.linear("encoder.out", w.rms_norm("encoder.norm", x))
        return F.pad(h, (0, m["latent_width"] - h.shape[-1])) + x.float() * 0.005

    def quantise(self, h):
        outs, commit, rebuild, residual = [], 0, 0, h
        self.chosen = []
        for i in range(self.m["stages"]):
            name = f"quantiser.{i}."
            e = self.slow(name + "in", residual)
            with torch.autocast("cpu", enabled=False):
                e = unit(e)
                codes = unit(self.w[name + "codes"].detach())
                index = (e.detach() @ codes.T).argmax(-1)
            code = codes[index]
            self.chosen.append((e.detach(), index))
            out = self.slow(name + "out", e + (code - e).detach())
            commit = commit + F.mse_loss(e, code)
            rebuild = rebuild + F.mse_loss(out, residual) * self.m["latent_width"]
            residual = residual - out.detach()
            outs.append(out)
        return outs, commit / len(outs), rebuild / len(outs), residual

    def gaussian(self, part, h, noise):
        mean, log_var = self.slow(f"gaussian.{part}.moments", h).chunk(2, -1)
        log_var = log_var.clamp(-12, 4)
        nats = ((log_var.exp() + mean.square() - 1 - log_var) / 2).mean() * mean.shape[-1]
        return self.slow(f"gaussian.{part}.out", mean + (log_var * 0.5).exp() * noise), nats

    def decode(self, latent):
        w, m, n = self.w, self.m, self.m["linear"]
        x = w.linear("decoder.in", latent)
        for i in range(m["latent_blocks"]):
            x = self.block(f"decoder.latent{i}", x)
        added = w.linear("decoder.shape", w.rms_norm("decoder.middle", x)).float() * 0.005
        level = (2 * (latent[..., n:n + 1] + added[..., n:]) - 4).clamp(-12, 4)
        shape = latent[..., :n] + added[..., :n]
        x = w.linear("decoder.up", x).unflatten(-1, (4, -1)).flatten(1, 2)
        for i in range(m["decoder_blocks"]):
            x = self.block(f"decoder.block{i}", x)
        x = w.linear("decoder.head", w.rms_norm("decoder.norm", x)).float()
        with torch.autocast("cpu", enabled=False):
            size, p, q = x.chunk(3, -1)
            size = 2 * self.hop * (size + level.repeat_interleave(4, 1) - 8).clamp(-30, 3).exp()
            size = size * (p.square() + q.square() + 1e-4).rsqrt()
            x = torch.fft.irfft(torch.complex(size * p, size * q), 4 * self.hop)
            x = (x.unflatten(1, (-1, 4)) * self.fade).flatten(1, 2)
            made = (self.add_up(x) / self.fade_sum).flatten(1)
            p = shape * level.exp()
            p = torch.cat((F.pad(p[:, :-1], (0, 0, 1, 0)), p), -1)
            return made + 0.1 * F.linear(p, w["decoder.linear.weight"]).flatten(1)

    def spectrum(self, x, i):
        n = 32 << i
        frames = -(-x.shape[1] // (n // 4))
        s = torch.stft(x, n, n // 4, window=self.hann[i], pad_mode="constant", return_complex=True)
        return s[..., :frames].transpose(1, 2)

    def log_mel(self, s, i):
        return (s.abs() @ self.mel[i]).clamp(min=1e-5).log()

    def distances(self, y, x):
        mel = stft = 0
        for i in range(7):
            s, t = self.spectrum(y, i), self.spectrum(x, i)
            mel = mel + F.l1_loss(self.log_mel(s, i), self.log_mel(t, i)) / (7 * math.log(10))
            if i >= 2:
                size = math.sqrt(8 / (3 * (32 << i))) / 5
                stft = stft + size * torch.view_as_real(s - t).abs().mean()
        quiet = 1e-8 * x.shape[1]
        d, power = (y - x).square().sum(1), x.square().sum(1)
        return mel, stft, (d * ((d + quiet) * (power + quiet)).rsqrt()).mean()

    def bottleneck(self, z):
        """What the decoder gets; KL of both Gaussian latents, commit, rebuild."""
        h = self.encode(z["sound"])
        outs, commit, rebuild, rest = self.quantise(h)
        latent = sum(out * z["stage_on"][:, :, i:i + 1] for i, out in enumerate(outs))
        nats = []
        for i, (part, x) in enumerate((("alone", h), ("rest", rest))):
            g, n = self.gaussian(part, x, z["noise"][i])
            latent = latent + g * z["gaussian_on"][i]
            nats.append(n)
        return latent + h * z["raw_on"], nats, commit, rebuild

    def losses(self, z):
        """The first phase: all numbers of the log, the loss first."""
        o, m = self.o, self.m
        latent, nats, commit, rebuild = self.bottleneck(z)
        y = self.decode(latent)
        with torch.autocast("cpu", enabled=False):
            target = [m["alone_kl_nats"] or m["target_kl_nats"], m["target_kl_nats"]]
            kl = sum((n - t) ** 2 for n, t in zip(nats, target)) / 2
            mel, stft, wave = self.distances(y, z["sound"])
            loss = (o["mel"] * mel + o["stft"] * stft + o["wave"] * wave + o["commit"] * commit
                    + o["rebuild"] * rebuild + o["kl"] * kl)
            kbps = 25 / math.log(2) / 1000
            out = {"loss": loss, "mel": mel, "stft": stft, "wave": wave, "commit": commit, "rebuild": rebuild,
                   "kl_kbps": nats[0] * kbps, "kl_rest_kbps": nats[1] * kbps}
            for i, (_, use) in enumerate(self.codes):
                share = use / use.sum()
                out[f"perplexity{i}"] = (-(share * (share + 1e-12).log()).sum()).exp()
        return out

    # -- the late phase --

    def judge(self, sound):
        """A score and five features a scale."""
        opinions = []
        for scale in range(5):
            n = 2048 >> scale
            with torch.autocast("cpu", enabled=False):
                s = self.spectrum(sound, 6 - scale) * math.sqrt(8 / (3 * n))
                x = torch.stack((s.real, s.imag), 1)
            x = x.contiguous(memory_format=torch.channels_last) if self.last else x
            features = []
            for i, dilation in enumerate((1, 1, 2, 4, 1, 1)):
                name = f"discriminator.{scale}." + (f"conv{i}" if i < 5 else "score")
                w = self.w[name + ".weight"]
                x = F.conv2d(x, w, self.w[name + ".bias"], (1, 2 if 1 <= i <= 3 else 1), (dilation, w.shape[3] // 2),
                             (dilation, 1))
                x = F.leaky_relu(x, 0.2) if i < 5 else x
                features.append(x)
            opinions.append((features.pop(), features))
        return opinions

    def training_judge(self, on):
        for name, p in self.w.values.items():
            if name.startswith("discriminator."):
                p.requires_grad_(on)

    def judged(self, z):
        self.training_judge(True)
        with torch.no_grad():
            latent = self.bottleneck(z)[0]
        self.made = self.decode(latent)
        scores = [(a, b) for (a, _), (b, _) in zip(self.judge(z["sound"]), self.judge(self.made.detach()))]
        return {"loss": sum(F.relu(1 - a.float()).mean() + F.relu(1 + b.float()).mean() for a, b in scores) / 5}

    def late(self, z):
        o, y = self.o, self.made
        self.training_judge(False)
        with torch.no_grad():
            real = self.judge(z["sound"])
        made = self.judge(y)
        with torch.autocast("cpu", enabled=False):
            opinion = sum(-score.float().mean() for score, _ in made) / 5
            pairs = [pair for (_, f), (_, g) in zip(made, real) for pair in zip(f, g)]
            feature = sum(F.l1_loss(a.float(), b.float()) for a, b in pairs) / len(pairs)
            mel, stft, wave = self.distances(y, z["sound"])
            loss = (o["mel"] * mel + o["stft"] * stft + o["wave"] * wave + o["adversarial"] * opinion
                    + o["feature"] * feature)
        return {"loss": loss, "mel": mel, "stft": stft, "wave": wave, "adversarial": opinion, "feature": feature}

    @torch.no_grad()
    def after_step(self, step):
        if len(self.phases) > 1:
            return
        memory = self.o["code_memory"]
        for (codes, use), (e, index) in zip(self.codes, self.chosen):
            e, index = e.flatten(0, 1), index.flatten()
            use.mul_(memory).add_(torch.bincount(index, minlength=len(use)), alpha=1 - memory)
            codes.mul_(memory).add_(torch.zeros_like(codes).index_add_(0, index, e), alpha=1 - memory)
            if step % 5 == 0:
                mean = use.mean()
                dead = use < self.o["dead"] * mean
                codes[dead] = mean * e[torch.randint(len(e), (int(dead.sum()),))]
                use[dead] = mean

    def inputs(self, make):
        b, t = self.o["batch"], self.o["latents"]
        shape = (b, t, self.m["continuous"])
        on = make("on", (b, self.m["stages"] + 3), 0)
        return {"sound": make("sound", (b, 4 * self.hop * t), 0), "noise": [make("noise", shape, i) for i in range(2)],
                "stage_on": on[:, None, :-3], "gaussian_on": [on[:, -3, None, None], on[:, -2, None, None]],
                "raw_on": on[:, -1, None, None]}
