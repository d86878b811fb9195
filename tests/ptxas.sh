#!/bin/sh
# ptxas.sh FOLDER: what ptxas said about our kernels, for each architecture.  Fails on a warning, on
# a remark that asynchronous products wait for each other or that registers are not handed over, on
# registers spilled to memory and on stack frames (arrays that did not fit into registers); prints
# the kernel that uses most registers.
cd "$1" || exit 1
set -- *.ptxas
[ -e "$1" ] || { echo "no reports in $(pwd)"; exit 77; }
exec awk '
/warning|Potential Performance Loss|C75[0-9][0-9]/ { print FILENAME ": " $0; bad = 1 }
/Compiling entry function/ { split($0, part, "\047"); kernel = part[2] " for " part[4]; n++ }
/bytes stack frame/ && !/ 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads/ {
    print FILENAME ": " kernel ":" $0
    bad = 1
}
/Used [0-9]+ registers/ {
    for (i = 1; i < NF; i++)
        if ($i == "Used" && $(i + 1) + 0 > most) {
            most = $(i + 1) + 0
            heaviest = kernel
        }
}
END {
    print n " kernels; at most " most " registers (" heaviest ")"
    exit bad || n == 0
}' "$@"
