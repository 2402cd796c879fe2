"""A Pi that writes to its root without pause, and what has to be there in the end."""

from __future__ import annotations

import hashlib
import time

from lab.machines import Machine

_FILE = "/var/writes"
_PAYLOAD = "0123456789abcdef" * 8
_LINES_S = 60.0

# One descriptor stays open throughout, another is opened for each fsync. Any fault ends it, and is kept.
_SCRIPT = f"""
rm -f /run/stop /run/fault
exec 3>> {_FILE}
n=0
while [ ! -e /run/stop ]; do
    n=$((n + 1))
    {{ echo "$n {_PAYLOAD}" >&3 && sync {_FILE}; }} 2>> /run/fault || {{ echo "failed at $n" >> /run/fault; exit 1; }}
    echo $n > /run/written
done
exec 3>&-
sync {_FILE}
echo over > /run/over
"""


class Writing:
    """Lines with numbers, each of them brought to the server's disk before the next one."""

    def __init__(self, pi: Machine) -> None:
        self._pi = pi

    def start(self) -> None:
        self._pi.do(
            f"rm -f {_FILE} /run/over; cat > /run/writing <<'END'\n{_SCRIPT}END\nsh /run/writing > /dev/null 2>&1 &"
        )
        self.go_on()

    def written(self) -> int:
        """How many lines are on the server's disk."""
        # It may be read in the moment between its being emptied and written.
        return int(self._pi.do("cat /run/written 2>/dev/null || true").strip() or 0)

    def go_on(self, lines: int = 20) -> None:
        """Wait until so many more lines are written."""
        wanted = self.written() + lines
        end = time.monotonic() + _LINES_S
        while self.written() < wanted:
            assert time.monotonic() < end, f"nothing is written any more: {self._pi.do('cat /run/fault; dmesg | tail')}"
            time.sleep(0.2)

    def stop(self) -> tuple[int, str]:
        """End it; how many lines there must be, and the SHA-256 of a file that has them all."""
        self._pi.do("touch /run/stop")
        self._pi.keeps_trying("test -e /run/over")
        assert self._pi.do("cat /run/fault").strip() == ""
        lines = self.written()
        whole = "".join(f"{number} {_PAYLOAD}\n" for number in range(1, lines + 1))
        return lines, hashlib.sha256(whole.encode()).hexdigest()

    def sum_at_pi(self) -> str:
        """The SHA-256 of what the Pi reads back, none of it from its memory."""
        self._pi.do("echo 3 > /proc/sys/vm/drop_caches")
        return self._pi.do(f"sha256sum < {_FILE}").split()[0]
