#!/bin/bash
# score.sh LOCKSTEP [KILLS] - a batch with broken files: every input has its row, a killed run resumes
# into the identical file, shards add up, gates and exit codes hold.  KILLS: so many more moments to
# kill it at, drawn at random.  Skips without jq.
set -u
lockstep=$(realpath "$1")
kills=${2:-0}
command -v jq >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
fail() {
    echo "FAIL $*"
    failed=1
}
# run CODE ARGUMENT...: the exit code must be CODE; output in $dir/out and $dir/err
run() {
    want=$1
    shift
    "$lockstep" "$@" >"$dir/out" 2>"$dir/err"
    code=$?
    [ $code = "$want" ] || { fail "exit $code, wanted $want: $*" && cat "$dir/err"; }
}

# What is tested here is the batch; few resamples keep it short.
quick="--metric event:n_null=40:n_bootstrap=20 --metric beat:n_null=40:n_bootstrap=20"

# 12 clips that can be measured, 5 that cannot be read, one under a difficult name.
run 0 worlds impacts --count 12 --seed 5 --seconds 4 --size 160x120 --offset-ms 60 -o "$dir/clips"
cd "$dir" || exit 1
: >clips/empty.mp4
echo "a letter, not a film" >clips/letter.mp4
head -c 500 clips/impacts_5_00000.mp4 >clips/short.mp4
head -c 20000 /dev/urandom >clips/noise.mp4
cp clips/impacts_5_00001.mp4 "clips/caf$(printf '\351'), \"new\".mp4" # no UTF-8, a comma, quotes
mapfile -t files < <(printf '%s\n' clips/*.mp4 && echo clips/missing.mp4)
n=${#files[@]}

run 1 score "${files[@]}" $quick -o whole.jsonl --h5 whole.h5 --csv whole.csv
[ "$(wc -l <whole.jsonl)" = "$n" ] || fail "rows: $(wc -l <whole.jsonl) of $n"
[ "$(jq -rs 'map(select(.status == "failed")) | length' whole.jsonl)" = 5 ] || fail "failed rows"
jq -es 'map(select(.status == "failed")) | all(.error | length > 10)' whole.jsonl >/dev/null ||
    fail "a failed row without its sentence"
jq -es 'map(select(.status == "ok")) | all((.scores | length) + (.abstained | length) > 5)' \
    whole.jsonl >/dev/null || fail "an ok row without numbers or reasons"
grep -qiE '(: |\[|, )-?(nan|inf)' whole.jsonl && fail "NaN in rows"
grep -qiE '(^|,)-?(nan|inf)(,|\r|$)' whole.csv && fail "NaN in the table"
[ "$(wc -l <err)" -le 6 ] || fail "more than one sentence a failed clip: $(cat err)"
ls ./*.part 2>/dev/null && fail "a partial file is left"

# The table holds the same numbers.
table=$(grep -c 'event.offset_ms' whole.csv)
rows=$(jq -rs 'map(select(.scores["event.offset_ms"] or .abstained["event.offset_ms"])) | length' \
    whole.jsonl)
[ "$table" = "$rows" ] || fail "table $table, rows $rows"

# The order and the bytes do not depend on the number of workers.
run 1 score "${files[@]}" $quick -o one.jsonl --threads 1
cmp -s whole.jsonl one.jsonl || fail "one worker gives another file"
run 1 score "${files[@]}" $quick --json --threads 3
cmp -s whole.jsonl out || fail "stdout differs from the file"

# Shards add up.
for i in 1 2 3; do
    run 1 score "${files[@]}" $quick --shard $i/3 -o shard$i.jsonl
done
cmp -s <(sort whole.jsonl) <(sort shard?.jsonl) || fail "the shards are not the whole"
for bad in 0/3 4/3 1 a/b 1/3x; do
    run 2 score "${files[@]}" $quick --shard $bad
done

# Killed at any moment, resumed: the same bytes, and curves for every clip.
moments="05 12 20 30 45"
for _ in $(seq "$kills"); do moments="$moments $(printf '%03d' $((RANDOM % 700)))"; done
for ms in $moments; do
    rm -f killed.*
    "$lockstep" score "${files[@]}" $quick -o killed.jsonl --h5 killed.h5 --threads 1 2>/dev/null &
    pid=$!
    sleep 0.$ms
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    run 1 score "${files[@]}" $quick -o killed.jsonl --h5 killed.h5 --resume
    cmp -s whole.jsonl killed.jsonl || fail "killed after $ms, the resumed file differs"
    [ -f killed.h5 ] && [ ! -f killed.h5.part ] || fail "killed after $ms, no curves"
    if command -v h5diff >/dev/null; then
        h5diff -q whole.h5 killed.h5 || fail "killed after $ms, the curves differ"
    fi
done

# A half-written row is done again; a whole file is left as it is; another run's file is refused.
{ head -n 3 whole.jsonl && sed -n 4p whole.jsonl | head -c 100; } >torn.jsonl.part
run 1 score "${files[@]}" $quick -o torn.jsonl --resume
cmp -s whole.jsonl torn.jsonl || fail "a torn row is not done again"
run 1 score "${files[@]}" $quick -o torn.jsonl --resume
cmp -s whole.jsonl torn.jsonl || fail "resuming a whole file changes it"
run 2 score "${files[@]}" $quick -o torn.jsonl --resume --seed 9
cmp -s whole.jsonl torn.jsonl || fail "a refused resume changes the file"
run 2 score "${files[@]}" $quick --resume

# Two runs into one file: the second is refused.
"$lockstep" score "${files[@]}" $quick -o both.jsonl --threads 1 2>/dev/null &
pid=$!
for _ in $(seq 6000); do [ -s both.jsonl.part ] && break || sleep 0.01; done
kill -STOP $pid
run 1 score "${files[@]}" $quick -o both.jsonl
grep -q "another run" err || fail "two runs into one file"
kill -CONT $pid
wait $pid
cmp -s whole.jsonl both.jsonl || fail "the second run spoilt the first"

# Asked to stop: the clip at hand is finished, 75, and the rest follows on --resume.
yes "clips/impacts_5_00000.mp4" | head -80 >many.txt
mapfile -t many <many.txt
"$lockstep" score "${many[@]}" $quick -o stopped.jsonl --threads 1 2>err &
pid=$!
sleep 0.3
kill -TERM $pid
wait $pid
code=$?
[ $code = 75 ] || fail "exit $code after SIGTERM"
[ -f stopped.jsonl.part ] && [ ! -f stopped.jsonl ] || fail "the stopped run left no partial file"
grep -q -- --resume err || fail "the stopped run does not say how to go on"
run 0 score "${many[@]}" $quick -o stopped.jsonl --resume
[ "$(wc -l <stopped.jsonl)" = 80 ] || fail "rows after a stop"
[ "$(jq -c 'del(.clip)' stopped.jsonl | sort -u | wc -l)" = 1 ] || fail "equal clips, other numbers"

# Truth is part of where a row comes from.
printf 'clip,onsets\nclips/impacts_5_00000.mp4,0.5 1\n' >truth.csv
run 0 score --manifest truth.csv -o truth.jsonl
sed -i 's/0.5 1/0.5 2/' truth.csv
run 2 score --manifest truth.csv -o truth.jsonl --resume
[ -f truth.jsonl ] || fail "a refused resume takes the file away"

# Gates.
run 4 score clips/impacts_5_00000.mp4 --fail-if 'abs(event.offset_ms)>40'
run 0 score clips/impacts_5_00000.mp4 --fail-if 'event.offset_ms<-40'
run 4 score clips/impacts_5_00000.mp4 --fail-if 'event.offset_ms>40' --fail-if 'event.offset_ms>400'
for bad in 'event.offset>40' 'event.offset_ms=40' 'event.offset_ms>' '>40' 'abs(event.offset_ms>4' ''; do
    run 2 score clips/impacts_5_00000.mp4 --fail-if "$bad"
done

# Folders, manifests, nothing to do, usage.
run 1 score clips $quick --json
[ "$(wc -l <out)" = $((n - 1)) ] || fail "a folder gave $(wc -l <out) rows, not $((n - 1))"
printf 'clip,pair,group\nclips/impacts_5_00000.mp4,p1,ours\n' >m.csv
run 0 score --manifest m.csv --json
jq -e '.pair == "p1" and .group == "ours"' out >/dev/null || fail "the manifest's pair and group"
mkdir none
run 3 score none
run 3 score
run 2 score clips --metric evnet
grep -q "did you mean 'event'" err || fail "no suggestion for a metric"
run 2 score clips --metric event:max_lag_ms=1e9
run 1 score "${files[@]}" $quick -o /nonexistent/x.jsonl
run 1 score "${files[@]}" --csv /nonexistent/x.csv
[ -s out ] && fail "clips are scored before the table is found to have no place"
run 0 score --list-metrics
grep -q '^event' out || fail "no list of metrics"

# Two systems: the planted difference comes out.
for late in 60 -20; do
    run 0 worlds impacts --count 8 --seed 5 --seconds 8 --offset-ms $late -o by$late
    run 0 score by$late -o by$late.jsonl --metric event
done
mv by60.jsonl a.jsonl && mv by-20.jsonl b.jsonl
run 0 compare a.jsonl b.jsonl --json
jq -e '.pairs == 8 and (.scores["event.offset_ms"] | .n >= 6 and .p < 0.05 and
    (.difference + 80 | fabs) < 3 and .ci95[0] <= .difference and .difference <= .ci95[1])' \
    out >/dev/null || fail "compare: $(cat out)"
run 2 compare a.jsonl
run 1 compare a.jsonl whole.csv
run 3 compare a.jsonl /dev/null

# Events: the planted times come out.
run 0 events --json clips/impacts_5_00000.mp4
jq -e --slurpfile truth clips/truth.jsonl '.onsets_s as $heard | [$truth[0].events[].sound_s |
    . as $t | [$heard[] - $t | fabs] | min] | sort | .[length / 2 | floor] < 0.005' out >/dev/null ||
    fail "onsets of a world: $(cat out)"
run 1 events --json clips/empty.mp4
jq -e '.status == "failed" and .onsets_s == []' out >/dev/null || fail "events of an empty file"

# The curves open in h5py with their axes.
if /usr/bin/python3 -c 'import h5py' 2>/dev/null; then
    /usr/bin/python3 - <<'PY' || fail "h5py"
import h5py, json
rows = [json.loads(line) for line in open("whole.jsonl")]
with h5py.File("whole.h5", "r") as f:
    assert len(f["clips"]) == len(rows)
    for i, row in enumerate(rows):
        clip = f["clips/%06d" % i]
        assert clip.attrs["status"].decode() == row["status"], (i, row["clip"])
        if row["status"] == "failed":
            continue
        assert abs(clip.attrs["duration_s"][0] - row["duration_s"]) < 1e-9
        for name, score in row["scores"].items():
            assert abs(clip["scores"][name].attrs["value"][0] - score["value"]) < 1e-6
        speed = clip["curves/event.speed"]
        assert speed["values"].shape == speed["t_s"].shape and len(speed["t_s"]) > 50
        assert speed["values"].dims[0][0] == speed["t_s"]
PY
fi
[ "$failed" = 0 ] && echo "score: all as expected"
exit $failed
