# What the scripts here share: each check is a line that `cargo xtask package-test` reads.

checks=0

# check NAME COMMAND…: well if the command succeeds.
check() {
    name=$1
    shift
    checks=$((checks + 1))
    if output=$("$@" 2>&1); then
        echo "weir-test: ok $name"
    else
        echo "weir-test: FAILED $name: $* ($?): $(echo "$output" | tail -n 3 | tr '\n' ' ')"
    fi
}

# is WHAT FOUND: well if both are the same.
is() {
    [ "$1" = "$2" ] || {
        echo "$2 is not $1"
        return 1
    }
}

# not COMMAND…: well if it fails.
not() {
    ! "$@"
}

finish() {
    echo "weir-test: end $checks"
}
