#!/bin/sh
# Run in a booted machine: whether this kernel's verifier takes the programs, with every combination of options
# that changes them. What is told to be wrong has the last lines of the sensor's words.
. /srv/test/checks.sh

ip link add near0 type veth peer name far0
ip link set near0 up
ip link set far0 up
uname -r

# loads OPTION…: attaches, meters, ends.
loads() {
    weir-sensor -i near0 -c none --direction both "$@" >/tmp/said 2>&1 &
    pid=$!
    for _ in $(seq 240); do
        if grep -q 'metering near0' /tmp/said || ! kill -0 $pid 2>/dev/null; then
            break
        fi
        sleep 1
    done
    grep -q 'metering near0' /tmp/said
    metered=$?
    kill -TERM $pid 2>/dev/null
    wait $pid
    status=$?
    if [ $metered -ne 0 ] || [ $status -ne 0 ]; then
        tail -n 3 /tmp/said
        return 1
    fi
}

all_tunnels='--tunnels gre,ipip,vxlan,geneve,gtpu'
# What asks most of the verifier comes first.
# shellcheck disable=SC2086
check "everything" loads -i far0 -T ether $all_tunnels --fields mac,inner-vlan,mpls,flow-label,outer \
    -s 7 --sampling-random --exact-clock --xdp native
for level in ip proto vlan tos ether; do
    check "track $level" loads -T $level
done
check "generic" loads --xdp generic
check "clsact" loads --tc clsact
check "exact clock" loads --exact-clock
check "debug log" loads --debug-log
check "several interfaces" loads -i far0
check "drop" loads --drop --drop-anyway
for xdp in native off; do
    for tunnels in '' "$all_tunnels"; do
        for fields in '' '--fields mac,inner-vlan,mpls,flow-label'; do
            for sampling in '' '-s 7' '-s 7 --sampling-random'; do
                for fragments in on off; do
                    # Each variable is none, one or several words.
                    # shellcheck disable=SC2086
                    check "$xdp $tunnels $fields $sampling $fragments" \
                        loads --xdp $xdp $tunnels $fields $sampling --fragments $fragments
                done
            done
        done
    done
done
finish
