#!/bin/bash
# pack.sh LOCKSTEP - datasets: times and events of the clips come along, h5py reads them, a stopped
# run goes on, a broken input is named and the others are packed.
set -u
lockstep=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
fail() {
    echo "FAIL $*"
    exit 1
}
$lockstep worlds talker --count 2 --seed 3 --seconds 3 --fps 29.97 --size 96x64 --offset-ms 80 -o clips \
    2>/dev/null || fail "no clips"
$lockstep pack clips --seconds 2 --size 48x48 --rate 24000 -o a.h5 2>err || fail "$(cat err)"
head -c 3000 clips/talker_3_00000.mp4 >clips/broken.mp4
$lockstep pack clips --seconds 2 --size 48x48 --rate 24000 -o b.h5 2>err
[ $? = 1 ] && grep -q broken err && grep -q '4 clips into b.h5, 1 inputs failed' err || fail "broken: $(cat err)"
$lockstep pack clips --rate 0 --size none -o c.h5 2>err && fail "a dataset of nothing"
$lockstep pack --world impacts --count 5 --per-shard 2 --seconds 1 --size 32x32 -o d 2>err || fail "$(cat err)"
cp -r d e
rm e/00001.h5
$lockstep pack --world impacts --count 5 --per-shard 2 --seconds 1 --size 32x32 -o e 2>err || fail "$(cat err)"
grep -q '2 clips into e; files of 3 inputs were there' err || fail "not resumed: $(cat err)"
$lockstep pack --world impacts --count 5 --per-shard 2 --seconds 2 --size 32x32 -o e 2>err
[ $? = 2 ] && grep -q 'other settings' err || fail "other settings: $(cat err)"
python=/usr/bin/python3
$python -c 'import h5py' 2>/dev/null || { echo "pack: h5py is missing, files not read back"; exit 0; }
$python - <<'P' || fail "h5py"
import h5py, json
flick = 705600000
a = h5py.File("a.h5")
assert list(a["clips/name"].asstr()) == [f"talker_3_0000{i}.mp4#{k}" for i in (0, 1) for k in (0, 1)]
assert a["frames"].shape[1:] == (48, 48, 3) and a["samples"].attrs["rate_hz"] == 24000
assert a["frames"].dims[0].keys() == ["frame_start", "frame_end"]
n = a["clips/n_frames"][:]
assert n[0] == 60 and n[1] in (29, 30), n        # 2 s and the rest of 3 s at 29.97
starts = a["frame_start"][: n[0]]
assert abs(starts[-1] - 59 * flick * 1001 // 30000) <= flick // 60000   # the container's ticks
assert list(a["clips/n_samples"][:2]) == [48000, 24000]
truth = [json.loads(line) for line in open("clips/truth.jsonl")]
assert a["clips/caption"].asstr()[0] == truth[0]["caption"]
first, count = a["clips/first_event"][0], a["clips/n_events"][0]
heard = [e for e in truth[0]["events"] if e["sound_s"] is not None and 0 <= e["sound_s"] < 2]
assert count == len(heard) > 3, (count, len(heard))
for e, start, label in zip(heard, a["events/start"][first:], a["events/label"].asstr()[first:]):
    assert abs(start / flick - e["sound_s"]) < 1e-6 and label == e["label"]
for i in range(3):
    d, e = h5py.File(f"d/0000{i}.h5"), h5py.File(f"e/0000{i}.h5")
    assert (d["frames"][:] == e["frames"][:]).all() and (d["samples"][:] == e["samples"][:]).all()
    assert (d["clips/checksum"][:] == e["clips/checksum"][:]).all()
P
echo "pack: all as expected"
