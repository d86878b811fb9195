#!/bin/bash
# report_browser.sh LOCKSTEP - a report as a browser sees it: every picture, plot and player of the
# index and of the clip pages loads, no script fails, hostile names stay text.  The pages say what
# loaded in the data-check attribute of their body.  Skips without chromium and jq.
set -u
lockstep=$1
command -v chromium >/dev/null && command -v jq >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
fail() { echo "FAIL $*"; failed=1; }

make() { "$lockstep" worlds "$@" --seconds 8 --size 240x180 >/dev/null 2>&1 || fail "worlds $*"; }
make impacts --count 1 --seed 5 -o "$dir/clips"
make impacts --count 1 --seed 6 --container mkv --offset-ms 90 -o "$dir/clips"
hostile="$dir/clips/<img src=x onerror=document.title='taken'>\"&#.mp4"
cp "$dir"/clips/impacts_5_00000.mp4 "$hostile"
echo junk >"$dir/clips/<b>junk.mp4"
"$lockstep" score "$dir/clips" --report "$dir/report" -o "$dir/rows.jsonl" 2>/dev/null
[ $? -eq 1 ] || fail "score must exit 1: one clip is junk"
"$lockstep" report "$dir/rows.jsonl" -o "$dir/plain" 2>/dev/null || fail "report without curves"
: >"$dir/empty.jsonl"
"$lockstep" report "$dir/empty.jsonl" -o "$dir/empty" 2>/dev/null || fail "report of nothing"
"$lockstep" report "$dir/none.jsonl" -o "$dir/none" 2>/dev/null && fail "no such file must fail"

# look PAGE JQ: the page's own account must make the expression true
look() {
    timeout 90 chromium --headless --no-sandbox --disable-gpu --virtual-time-budget=10000 \
        --user-data-dir="$dir/profile" --dump-dom "file://$dir/$1" >"$dir/dom" 2>/dev/null
    account=$(grep -o 'data-check="[^"]*"' "$dir/dom" | head -n 1 |
        sed -e 's/^data-check="//' -e 's/"$//' -e 's/&quot;/"/g')
    [ "$(jq -e ".errors == [] and .images == .images_loaded and .media == .media_ready and ($2)" \
        <<<"$account" 2>&1)" = true ] || fail "$1: $account"
    grep -q '<title>taken' "$dir/dom" && fail "$1: a file name ran as script"
    # Nothing may come from outside the folder.
    grep -oE '(src|href)="[^"]*"' "$dir/dom" | grep -E '"(https?:)?//' && fail "$1 leaves the disk"
}
look report/index.html '.svgs == 1 and .images == 0'
played=0
for page in "$dir"/report/clips/*.html; do
    name=${page#"$dir"/}
    if grep -q 'Could not be scored' "$page"; then
        look "$name" '.media == 0'
    else
        look "$name" '.media == 1 and .media_s > 7.9 and .images >= 3 and .svgs >= 6'
        played=$((played + 1))
    fi
done
[ "$played" -eq 3 ] || fail "$played clips have a player, 3 should"
look plain/index.html '.svgs == 1'
look empty/index.html '.svgs == 0'
grep -q 'No clips' "$dir/empty/index.html" || fail "an empty report does not say so"
exit $failed
