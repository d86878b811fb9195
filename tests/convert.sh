#!/bin/bash
# convert.sh LOCKSTEP WEIGHTS_SEEDS - weights through the command line: names, choices, exit codes, and
# NumPy and PyTorch as peers where they are installed.
set -u
lockstep=$(realpath "$1")
seeds=$(realpath "$2")
here=$(realpath "$(dirname "$0")")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0
fail() {
    echo "FAIL $*"
    failed=1
}
# run CODE ARGUMENT...: the exit code must be CODE; output in out and err
run() {
    want=$1
    shift
    "$lockstep" convert "$@" >out 2>err
    code=$?
    [ $code = "$want" ] || { fail "exit $code, wanted $want: $*" && cat err; }
}
said() { grep -q "$1" "$2" || { fail "no '$1' in $2" && cat "$2"; }; }

mkdir in
"$seeds" in || exit 1
for f in in/*; do
    run 0 "$f" -o "$f.safetensors"
    run 0 "$f.safetensors" --list --json
    mv out back
    run 0 "$f" --list --json
    # The same tensors again, whatever their order.
    for key in name shape min max mean; do
        [ "$(grep -o "\"$key\": [^]}]*[],]" out | sort)" = "$(grep -o "\"$key\": [^]}]*[],]" back | sort)" ] ||
            fail "$f: $key changed"
    done
done
run 0 in/d.pt --list
said 'state_dict.w *f32 *\[2, 3\] *24 *-2 *6 *2.0833' out
said 'left out  epoch: a number' out
run 0 in/d.pt --list --prefix state_dict. --rename w=weight --rename =net. --dtype bf16
said 'net.weight *bf16 *\[2, 3\] *12' out
run 0 in/d.pt -o one.npy --prefix list
cmp -s <(tail -c 12 one.npy) <(printf '\0\0\x80\x40\0\0\0\0\0\0\xc0\x40') || fail "one.npy holds other numbers"
run 2 in/d.pt -o one.npy                          # three arrays
run 2 in/d.pt -o one.pt
run 2 in/d.pt
run 2 --list
run 2 in/d.pt --list --rename w
run 3 in/d.pt --list --prefix nothing
run 1 in/d.pt --list --rename state_dict.w=list.0 # two of one name
run 1 nothing.pt --list
run 1 "$lockstep" --list
run 1 in/d.pt -o no/such/folder/x.safetensors
head -c 300 in/d.pt >cut.pt
cp one.npy old.npy
run 1 cut.pt -o old.npy
cmp -s one.npy old.npy || fail "a failure touched the old file"
[ -z "$(ls -- *.part 2>/dev/null)" ] || fail "a partial file is left"
printf '\x93NUMPY\1\0\x3b\0{"descr": "<f4", "fortran_order": False, "shape": (1,),}  \n\0\x50\xc3\x47' >big.npy
run 0 big.npy -o big.safetensors --dtype f16
said 'became infinite' err
# The example of --help, as it stands there.
"$lockstep" convert --help | sed -n '/^example:/,$p' | tail -n +2 >example.sh
(PATH="$(dirname "$lockstep"):$PATH" bash -eu example.sh >out) || fail "the example of --help"
said 'two *f32 *\[2\] *8 *1 *2 *1.5' out

for peer in numpy torch; do
    if python3 -c "import $peer" 2>/dev/null; then
        PYTHONDONTWRITEBYTECODE=1 python3 "$here/convert_$peer.py" "$lockstep" || fail "beside $peer"
    else
        echo "$peer is not installed: not compared with it"
    fi
done
exit $failed
