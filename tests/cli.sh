#!/bin/sh
# The binary's manners: exit codes, streams, help.
bin=$1
fail=0
expect() { # wanted exit code, then the command
    want=$1
    shift
    "$@" >/dev/null 2>&1
    got=$?
    if [ $got -ne "$want" ]; then
        echo "exit $got, wanted $want: $*"
        fail=1
    fi
}
expect 0 "$bin" --help
expect 0 "$bin" --version
expect 2 "$bin"
expect 2 "$bin" scroe
expect 0 "$bin" doctor
expect 0 "$bin" doctor --help
expect 2 "$bin" doctor --nonsense
"$bin" doctr 2>&1 | grep -q "did you mean 'doctor'" || { echo "no suggestion"; fail=1; }
exit $fail
