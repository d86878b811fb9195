#!/bin/sh
# plant.sh PLANTS SOURCES OUT FILE...: copies of SOURCES/FILE in OUT/kernels/cuda with every fault of
# PLANTS at every place where it fits, each behind lk_planted(its number, from 1); their list is
# OUT/plants.inc.
plants=$1 out=$3
cd "$2" || exit 1
shift 3
mkdir -p "$out/kernels/cuda" || exit 1
exec awk -v out="$out" '
function plant(text, k,    i) {
    used[k] = 1
    text = "(" text ")"
    for (i = 2; i <= n_parts[k]; i++) {
        text = "(lk_planted(" ++number ") ? (" part[k, i] ") : " text ")"
        printf "\"%s:%d: %s instead of %s\",\n", FILENAME, FNR, part[k, i], part[k, 1] >list
    }
    return text
}
BEGIN { list = out "/plants.inc" }
NR == FNR {
    if (!/^#/) {
        file[++n] = $1
        n_parts[n] = split(substr($0, length($1) + 2), parts, " ==> ")
        for (i in parts) part[n, i] = parts[i]
    }
    next
}
{
    line = ""
    while (1) {
        first = 0
        for (k = 1; k <= n; k++) {
            at = file[k] == FILENAME ? index($0, part[k, 1]) : 0
            if (at && (!first || at < first)) { first = at; which = k }
        }
        if (!first) break
        line = line substr($0, 1, first - 1) plant(part[which, 1], which)
        $0 = substr($0, first + length(part[which, 1]))
    }
    print line $0 >(out "/kernels/cuda/" FILENAME)
}
END {
    for (k = 1; k <= n; k++)
        if (!used[k]) { print file[k] ": nowhere stands " part[k, 1] >"/dev/stderr"; exit 1 }
}' "$plants" "$@"
