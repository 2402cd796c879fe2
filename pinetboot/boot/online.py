"""How a Pi tells that it is up: the service that every root with systemd gets (design 2.6).

Belongs here: the texts of the unit and of its script. It runs at each boot, holds nothing up and never fails.
"""

from __future__ import annotations

from typing import Final

from pinetboot.boot.generated import Served
from pinetboot.fleet.pi import Pi

UNIT: Final = "pinetboot-online.service"
SCRIPT: Final = "/usr/local/lib/pinetboot/online"

# `simple`: what waits for multi-user.target does not wait for the script's retries.
_UNIT: Final = f"""\
# Written by pinetboot.
[Unit]
Description=Tell pinetboot that this Pi is up
Wants=network-online.target
After=network-online.target

[Service]
Type=simple
ExecStart=-{SCRIPT}
RuntimeMaxSec=300

[Install]
WantedBy=multi-user.target
"""

# The server may have moved since the tree was made: the kernel's command line, which is kept current, knows.
_SCRIPT: Final = """\
#!/bin/sh
# Written by pinetboot: tells it that this Pi is up, with whatever there is to speak HTTP; never fails.
set -f
url=@URL@/phone/@SERIAL@
seed=
for word in $(cat /proc/cmdline); do
    case $word in
        ds=nocloud*';s=http://'*/seed/@SERIAL@/*)
            seed=${word#*;s=}
            url=${seed%%/seed/*}/phone/@SERIAL@ ;;
@NFSROOT@
    esac
done
there=${url#http://}
path=/${there#*/}
there=${there%%/*}
host=${there%:*}
case $there in
    *:*) port=${there##*:} ;;
    *) port=80 ;;
esac
body="hostname=$(cat /proc/sys/kernel/hostname)&boot_id=$(cat /proc/sys/kernel/random/boot_id)"

has() {
    command -v "$1" >/dev/null 2>&1
}

post() {
    if has curl; then
        curl --silent --fail --noproxy '*' --max-time 10 --output /dev/null --data "$body" "$url"
    elif has wget; then
        wget -q -T 10 -O /dev/null --post-data="$body" "$url"
    elif has python3; then
        python3 -c 'import sys, urllib.request as u
u.build_opener(u.ProxyHandler({})).open(sys.argv[1], sys.argv[2].encode(), 10)' "$url" "$body"
    elif has bash; then
        bash -c 'exec 3<>"/dev/tcp/$1/$2" || exit 1
            printf "POST %s HTTP/1.0\\r\\nHost: %s\\r\\n" "$3" "$1:$2" >&3
            printf "Content-Type: application/x-www-form-urlencoded\\r\\n" >&3
            printf "Content-Length: %s\\r\\n\\r\\n%s" "${#4}" "$4" >&3
            read -r -t 10 _ status _ <&3
            [ "${status:-0}" -ge 200 ] && [ "$status" -lt 300 ]' bash "$host" "$port" "$path" "$body"
    else
        exit 0
    fi
}

for pause in 0 1 2 4 8 15 30 60; do
    sleep "$pause"
    post >/dev/null 2>&1 && exit 0
done
exit 0
"""

_NFSROOT: Final = """\
        nfsroot=[0-9]*.*.*.*:/*)
            there=${word#nfsroot=}
            [ -n "$seed" ] || url=http://${there%%:*}@PORT@/phone/@SERIAL@ ;;"""


def unit() -> str:
    """Make the unit, for /etc/systemd/system."""
    return _UNIT


def script(pi: Pi, served: Served) -> str:
    """Make the script that the unit runs. It posts to /phone/<serial> (design 2.5)."""
    port = served.url.removeprefix(f"http://{served.server}")
    # An external NFS server does not take the call.
    nfsroot = _NFSROOT.replace("@PORT@", port) if served.nfs_server == served.server else ""
    text = _SCRIPT.replace("@NFSROOT@\n", f"{nfsroot}\n" if nfsroot else "")
    return text.replace("@URL@", served.url).replace("@SERIAL@", pi.serial)
