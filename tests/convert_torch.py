"""convert_torch.py LOCKSTEP - PyTorch's checkpoints, read by both; run in an empty folder."""
import collections
import subprocess
import sys

import numpy as np
import torch

import convert_numpy


def flat(value, name=""):
    if isinstance(value, torch.Tensor):
        yield name, value
        return
    items = value.items() if isinstance(value, dict) else \
        enumerate(value) if isinstance(value, (list, tuple)) else ()
    for k, v in items:
        yield from flat(v, (name + "." if name else "") + str(k))


def numbers(t):
    t = t.detach().contiguous()
    return t.view(torch.int16).numpy().view(np.uint16) if t.dtype == torch.bfloat16 else t.numpy()


class Shell:
    def __reduce__(self):
        import os
        return os.system, ("touch executed",)


def main():
    torch.manual_seed(1)
    base, line = torch.randn(4, 6), torch.arange(100.0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Conv2d(2, 3, (3, 1)))
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int16,
             torch.int32, torch.int64, torch.uint8, torch.bool]
    objects = {
        "net": net.state_dict(),
        "kinds": {str(t): torch.arange(12).to(t) for t in kinds},
        "views": {"a": line[10:20], "b": line[::3], "c": base.t(), "d": base[1:3, 2:5],
                  "e": base[:, None].expand(4, 7, 6), "f": base, "g": line.view(10, 10).t()[2:5],
                  "h": torch.tensor(3.5), "i": torch.zeros(0, 3)},
        "nested": {"state_dict": net.state_dict(), "epoch": 3, "lr": 1e-3, "name": "x", "none": None,
                   "opt": {"state": {0: {"m": torch.ones(2), "step": 5}}, "groups": [{"lr": 0.1}]},
                   "list": [torch.ones(1), torch.zeros(2)], "size": base.shape, "dtype": torch.float16,
                   "device": torch.device("cpu"), "set": {1}, "bytes": b"ab", "long": 1 << 90},
        "params": {"p": torch.nn.Parameter(base), "q": torch.nn.Parameter(torch.ones(3).bfloat16())},
        "lone": base,
        "ordered": collections.OrderedDict(a=base),
    }
    for name, value in objects.items():
        for protocol in 2, 3, 4, 5:
            for zipped in True, False:
                torch.save(value, name + ".pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
                convert_numpy.compare(name + ".pt", {k or name: numbers(t) for k, t in flat(value)})
    torch.save({"a": base, "b": Shell()}, "bad.pt")
    done = subprocess.run([sys.argv[1], "convert", "bad.pt", "--list"], capture_output=True, text=True)
    if done.returncode != 1 or "system" not in done.stderr:
        raise SystemExit("a call of system was not refused: " + done.stderr)


if __name__ == "__main__":
    main()
    sys.exit(convert_numpy.bad > 0)
