#!/bin/bash
# text.sh FUZZ_TEXT N [FIRST] - N mutations of manifests and result lines.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/a.csv" <<'X'
clip,group,pair,reference,onsets,beats,downbeats,face
"a ""b"",c.mp4",ours,p 1,r.wav,0.5 1.25 2e0,1;2;3,1,.1 .2 .3 .4

b.mp4,,,,,,,
X
cat >"$dir/b.jsonl" <<'X'
{"clip":"a.mp4","pair":"p","onsets":[0.5,1],"face":[0,0,1,1],"beats":"1 2 3","x":null}
{"clip":"b.mp4","group":"ours","reference":"r.wav"}
X
cat >"$dir/c.jsonl" <<'X'
{"clip":"a.mp4","status":"ok","error":null,"duration_s":4.0,"container_offset_ms":-7.5,"group":"g","pair":null,"scores":{"event.offset_ms":{"value":80.5,"ci95":[76.4,83.3],"chance":null,"p":0.003,"unit":"ms","n":10},"b":{"value":1e300,"ci95":[null,null],"chance":0.4,"p":null,"unit":"1","n":0}},"abstained":{"beat.offset_ms":"no \"pulse\""},"warnings":["a","b"],"provenance":{"seed":1,"metrics":["event"]}}
X
cat >"$dir/d.jsonl" <<'X'
{"clip":"x","status":"failed","error":"is empty","scores":{},"abstained":{},"warnings":[]}
X
"$1" "$dir" -n "$2" -first "${3:-0}"
