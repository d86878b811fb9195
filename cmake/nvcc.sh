#!/bin/sh
# nvcc.sh REPORT nvcc ARGS...: run it; what it prints goes to REPORT, and is shown when it fails.
report=$1
shift
"$@" >"$report" 2>&1 && exit 0
cat "$report" >&2
exit 1
