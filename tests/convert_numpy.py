"""convert_numpy.py LOCKSTEP - NumPy's files, read by both; run in an empty folder."""
import json
import struct
import subprocess
import sys

import numpy as np

TYPES = dict(F32="<f4", F64="<f8", F16="<f2", BF16="<u2", I32="<i4", I64="<i8", U8="|u1", BOOL="|b1")
bad = 0


def safetensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {k: np.frombuffer(data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]],
                             TYPES[v["dtype"]]).reshape(v["shape"]) for k, v in header.items()}


def compare(path, wanted):
    """Equal numbers, and equal bytes where the element type stays."""
    global bad
    subprocess.run([sys.argv[1], "convert", path, "-o", "out.safetensors"], check=True,
                   stderr=subprocess.DEVNULL)
    got = safetensors("out.safetensors")
    good = sorted(got) == sorted(wanted)
    for k in wanted if good else ():
        a = np.ascontiguousarray(wanted[k]).reshape(np.shape(wanted[k]))
        good = good and a.shape == got[k].shape and np.array_equal(a.astype(got[k].dtype), got[k], equal_nan=a.dtype.kind == "f")
        if a.dtype.kind == got[k].dtype.kind and a.dtype.itemsize == got[k].dtype.itemsize:
            good = good and a.astype(got[k].dtype).tobytes() == got[k].tobytes()
    if not good:
        bad += 1
        print("differs:", path, sorted(wanted), sorted(got))


def main():
    rng = np.random.default_rng(1)
    for t in "<f2 >f2 <f4 >f4 <f8 >f8 |i1 <i2 >i2 <i4 >i4 <i8 >i8 |u1 <u2 >u2 <u4 >u4 <u8 >u8 |b1".split():
        a = rng.standard_normal((3, 4, 2)) * 50
        a = (abs(a) if t[1] == "u" else a).astype(t)
        for order in "CF":
            np.save("a.npy", np.asarray(a, order=order))
            compare("a.npy", {"a": a})
    for version in (1, 0), (2, 0), (3, 0):
        with open("v.npy", "wb") as f:
            np.lib.format.write_array(f, np.arange(6.0).reshape(2, 3), version=version)
        compare("v.npy", {"v": np.arange(6.0).reshape(2, 3)})
    for a in np.float32(3), np.zeros((0, 4), "f4"), np.array([np.nan, np.inf, -0.0], "f4"):
        np.save("s.npy", a)
        compare("s.npy", {"s": a})
    arrays = dict(a=np.arange(4000.0), b=np.ones((2, 2), "f2"))
    np.savez("z.npz", text=np.array(["a", "bc"]), **arrays)
    compare("z.npz", arrays)
    np.savez_compressed("c.npz", **arrays)
    compare("c.npz", arrays)
    subprocess.run([sys.argv[1], "convert", "z.npz", "-o", "b.npy", "--prefix", "b", "--rename", "=b"],
                   check=True, stderr=subprocess.DEVNULL)
    if np.load("b.npy").tobytes() != arrays["b"].tobytes():
        raise SystemExit("NumPy reads other numbers")


if __name__ == "__main__":
    main()
    sys.exit(bad > 0)
