#!/bin/sh
# Run in a Debian root that has softflowd: Weir beside it, then in its place, then gone.
. /srv/test/checks.sh
cd /srv/test || exit

conf='interface="eth9"
options="-v 9 -n 127.0.0.1:9995 -t maxlife=60"'
printf '%s\n' "$conf" >/etc/softflowd/default.conf
printf '%s\n' "$conf" >/etc/softflowd/second.conf
echo '# of an older version' >/etc/default/softflowd

check "weir is installed" dpkg --install weir_*.deb
check "its files are as they were packed" is "" "$(dpkg --verify weir)"
for program in weir-sensor weir-collector weir-ctl weir; do
    check "$program runs" "$program" --version
done
check "the collector's user is there" getent passwd weir
check "the sensor's user is there" getent passwd weir-sensor
check "nothing is enabled" not test -e /etc/systemd/system/multi-user.target.wants/weir-collector.service
check "the sensor's example is right" weir-sensor --config /etc/weir/sensor.toml -i eth9 --check
check "the collector's example is right" weir-collector --config /etc/weir/collector.toml --check
check "softflowd is as it was" is "" "$(dpkg --verify softflowd | grep -v ' c /')"

check "weir-softflowd takes softflowd's place" dpkg --install weir-softflowd_*.deb
check "softflowd is removed" is config-files "$(dpkg-query -W -f '${db:Status-Status}' softflowd)"
check "no file was lost" is "" "$(dpkg --verify weir-softflowd)"
for path in /usr/sbin/softflowd /usr/sbin/softflowctl /lib/systemd/system/softflowd@.service \
    /lib/systemd/system/softflowd.service /lib/systemd/system-generators/softflowd-generator; do
    check "$path is there" test -e "$path"
done
check "default.conf is kept" is "$conf" "$(cat /etc/softflowd/default.conf)"
check "second.conf is kept" is "$conf" "$(cat /etc/softflowd/second.conf)"
check "/etc/default/softflowd is kept" test -s /etc/default/softflowd
check "softflowd is Weir" sh -c 'softflowd -h 2>&1 | grep -q weir-sensor'
check "softflowctl is Weir" is weir-ctl "$(readlink /usr/sbin/softflowctl)"
check "default.conf is understood" weir-sensor --softflowd-conf /etc/softflowd/default.conf --check
mkdir /tmp/units
check "instances are found" /lib/systemd/system-generators/softflowd-generator /tmp/units
check "there are two" is "softflowd@default.service softflowd@second.service " \
    "$(find /tmp/units/softflowd.service.wants -type l -printf '%f\n' | sort | tr '\n' ' ')"
check "they are still enabled" test -e /etc/systemd/system/multi-user.target.wants/softflowd.service

check "installing it again changes nothing" dpkg --install weir-softflowd_*.deb weir_*.deb
check "second.conf is still kept" is "$conf" "$(cat /etc/softflowd/second.conf)"

check "weir-softflowd is purged" dpkg --purge weir-softflowd
check "softflowd is gone" not test -e /usr/sbin/softflowd
check "instances are left to their admin" test -s /etc/softflowd/second.conf
mkdir -p /var/lib/weir
check "weir is purged" dpkg --purge weir
check "its configuration is gone" not test -e /etc/weir/sensor.toml
check "flows are left" test -d /var/lib/weir
check "nothing of it is left" is "" "$(find /usr /lib/systemd /etc -path '*weir*' ! -path '/usr/share/doc/*' -type f)"
finish
