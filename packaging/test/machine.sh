#!/bin/sh
# Run in a booted machine: the units, restart under traffic, stop. A veth pair, the far end in a namespace.
. /srv/test/checks.sh
near=192.0.2.1
far=192.0.2.2

# The interface is silent but for what is sent on purpose: no IPv6, no ARP.
ip netns add far
ip link add near0 type veth peer name far0 netns far
sysctl -q -w net.ipv6.conf.near0.disable_ipv6=1
ip netns exec far sysctl -q -w net.ipv6.conf.far0.disable_ipv6=1
ip address add $near/24 dev near0
ip -n far address add $far/24 dev far0
ip link set near0 up
ip -n far link set far0 up
ip neighbour replace $far lladdr "$(ip netns exec far cat /sys/class/net/far0/address)" dev near0 nud permanent
ip -n far neighbour replace $near lladdr "$(cat /sys/class/net/near0/address)" dev far0 nud permanent

# Packets that came in and went out, as the interface has them.
passed() {
    echo $(($(cat /sys/class/net/near0/statistics/rx_packets) + $(cat /sys/class/net/near0/statistics/tx_packets)))
}

send() {
    ip netns exec far bash -c '
        exec 3>/dev/udp/192.0.2.1/1001 4>/dev/udp/192.0.2.1/1002 5>/dev/udp/192.0.2.1/1003
        while [ ! -e /run/enough ]; do echo x >&3; echo x >&4; echo x >&5; done' 2>/dev/null
}

# nothing_left WHEN: what a sensor that was stopped must have taken with it, or has a moment later: in software that
# is half a minute, since programs are verified to take the others off.
nothing_left() {
    for _ in $(seq 120); do
        mountpoint -q /run/weir/pins/near0 || break
        sleep 1
    done
    check "$1: its table is gone" not mountpoint -q /run/weir/pins/near0
    check "$1: no XDP program is left" not sh -c 'ip -details link show near0 | grep -q xdp'
    check "$1: no tc program is left" is "" "$(tc filter show dev near0 egress)$(tc filter show dev near0 ingress)"
    check "$1: its socket is gone" not test -e /run/weir-sensor/near0/ctl
}

# Which program the instance near of softflowd is.
running() {
    readlink "/proc/$(cat /run/softflowd/near.pid)/exe"
}

sensor=weir-sensor@near0.service
cp /etc/weir/sensor.toml /etc/weir/sensor-near0.toml
check "the collector starts" systemctl start weir-collector
check "the collector may be asked by its group" is "weir 750" "$(stat -L -c '%G %a' /var/lib/weir)"
check "the sensor starts" systemctl start $sensor
check "it runs" systemctl is-active $sensor
check "it is not root" is weir-sensor "$(ps -o user:20= -p "$(systemctl show -P MainPID $sensor)" | tr -d ' ')"
check "its table is pinned" sh -c 'ls -d /run/weir/pins/near0/table-*'
check "its socket is for the group" is "weir 660" "$(stat -c '%G %a' /run/weir-sensor/near0/ctl)"
check "it answers" weir-ctl -c /run/weir-sensor/near0/ctl statistics --json
check "it is found" weir-ctl statistics

before=$(passed)
send &
sleep 5
check "it starts again under traffic" systemctl restart $sensor
sleep 5
check "and again" systemctl restart $sensor
touch /run/enough
wait
sleep 2
sent=$(($(passed) - before))
check "there was traffic" test "$sent" -gt 1000

check "it stops" systemctl stop $sensor
nothing_left "stopped"
sleep 2
check "the collector stops" systemctl stop weir-collector
answer=$(weir sql --no-pager -o csv 'select sum(packets) from flows' 2>&1)
stored=$(echo "$answer" | grep -E '^[0-9]+$' || echo "unknown: $answer")
check "every packet is in the files" is "$sent" "$stored"

# What a killed process had taken out of the table is lost, and counted: there is no exact sum here.
check "it starts once more" systemctl start $sensor
check "it is killed" systemctl kill --signal=KILL $sensor
sleep 2
check "its table outlives it" sh -c 'ls -d /run/weir/pins/near0/table-*'
for _ in $(seq 180); do
    systemctl is-active --quiet $sensor && break
    sleep 1
done
check "systemd has started another" systemctl is-active $sensor
check "it stops, too" systemctl stop $sensor
nothing_left "after a crash"

# One that was configured wrongly meanwhile, and waits for its next start, leaves nothing either.
check "it starts for the last time" systemctl start $sensor
echo 'nonsense = 1' >>/etc/weir/sensor-near0.toml
check "it does not start with nonsense" not systemctl restart $sensor
check "its table waits for the next one" sh -c 'ls -d /run/weir/pins/near0/table-*'
check "it stops though it does not run" systemctl stop $sensor
nothing_left "wrongly configured"

# Debian's softflowd meters, and Weir takes its place meanwhile.
instance=softflowd@near.service
printf '%s\n' "interface='near0'" "options='-v 9 -n 127.0.0.1:2055'" >/etc/softflowd/near.conf
systemctl daemon-reload
check "softflowd starts" systemctl start $instance
check "it is Debian's" is /usr/sbin/softflowd "$(running)"
check "weir-softflowd takes its place" dpkg --install /srv/test/weir-softflowd_*.deb
for _ in $(seq 300); do
    systemctl is-active --quiet $instance && break
    sleep 1
done
check "its instance goes on" systemctl is-active $instance
check "it is Weir's" is /usr/sbin/weir-sensor "$(running)"
check "softflowctl asks it" sh -c 'softflowctl -c /run/softflowd/near.ctl statistics | grep "Number of active flows"'
check "it has few privileges" is 000000c000003000 \
    "$(sed -n 's/^CapEff:[[:space:]]*//p' "/proc/$(cat /run/softflowd/near.pid)/status")"
check "it starts again" systemctl restart $instance
check "all instances stop" systemctl stop softflowd.service
# systemctl waits for what it was told to stop, and not for the instances that stop with it.
for _ in $(seq 60); do
    [ "$(systemctl is-active $instance)" = inactive ] && break
    sleep 1
done
check "its pidfile is gone" not test -e /run/softflowd/near.pid
check "so is its socket" not test -e /run/softflowd/near.ctl
nothing_left "in softflowd's place"
journalctl --no-pager -u $sensor -u weir-collector | tail -n 40
finish
