#!/usr/bin/env python3
"""Found onsets against annotated hits of the Greatest Hits clips: a markdown row out of `lockstep score`.

    experiments/ruler/hits.py build/lockstep DATA/events/XYPB/GREATEST_HITS_times.tsv

DATA/MANIFEST.tsv has one row a file: path and source, github:OWNER/NAME:PATH. The table's first column is
events/OWNER+NAME/PATH, its fourth says whether the sound is the real one (only
those count), its fifth holds "seconds:label" of each hit in the clip.  Hits in the last 50 ms are left out:
nothing of them can be heard.  F1 is the mean over clips.
"""
import json
import pathlib
import subprocess
import sys
import tempfile


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    lockstep, table = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    data = table.parents[2]
    file_of = {}
    for line in (data / "MANIFEST.tsv").read_text().splitlines()[1:]:
        file, source = line.split("\t")[:2]
        if source.startswith("github:"):
            owner, path = source[len("github:"):].split(":", 1)
            file_of[f"events/{owner.replace('/', '+')}/{path}"] = data / file
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as manifest:
        for line in table.read_text().splitlines()[1:]:
            path, _, _, sound, hits = line.split("\t")[:5]
            if sound != "real" or path not in file_of:
                continue
            seconds = float(subprocess.run(
                ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", file_of[path]],
                capture_output=True, text=True).stdout)
            times = [float(h.split(":")[0]) for h in hits.split()]
            manifest.write(json.dumps({"clip": str(file_of[path]),
                                       "onsets": [t for t in times if t < seconds - 0.05]}) + "\n")
        manifest.flush()
        out = subprocess.run([lockstep, "score", "--manifest", manifest.name, "--metric", "event", "--json"],
                             capture_output=True, text=True)
    rows = [json.loads(line) for line in out.stdout.splitlines()]
    names = sorted({k for r in rows for k in r["scores"] if "f1" in k})
    print(f"{len(rows)} clips, {sum('event.offset_ms' in r['scores'] for r in rows)} with an offset")
    for name in names:
        values = [r["scores"][name]["value"] for r in rows if name in r["scores"]]
        print(f"{name}: mean {sum(values) / len(values):.3f} of {len(values)}")


if __name__ == "__main__":
    main()
