#!/bin/bash
# config.sh FUZZ_CONFIG N [FIRST] - N mutations of configurations.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/a.yaml" <<'Y'
model.depth=[1, {a: b}] # a comment, and an override
Y
cat >"$dir/b.yaml" <<'Y'
model: {depth: 8, rate: 1e-3, clean: no}
note: |
  two
  lines
grid:
  lr: [1e-3, 0.5, .25]
  optim.lr: "0.1"
names: ['a b', "c\n\u00e9", ~, null]
Y
cat >"$dir/c.yaml" <<'Y'
%YAML 1.1
--- # a document
model:
    depth:   12
    mode: >-
      exact
    note: 'it''s'
names:
- one
- - two
  - {three: 3}
? names2
: x
...
Y
printf 'a: &x [1, 2]\nb: *x\nc: !!str 3\n<<: *x\n' >"$dir/d.yaml"
"$1" "$dir" -n "$2" -first "${3:-0}"
