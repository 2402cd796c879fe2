"""What one shared port costs on an older kernel: lock-step clients inside a guest with Debian's kernel. Needs root.

`python tests/bench/guest.py [--clients 500]`. Needs qemu-system-x86, mmdebstrap, cpio and a C compiler; makes its root
in a cache folder (PINETBOOT_TEST_CACHE, else a temporary one). The guest is emulated, so that its figures compare with
each other and with nothing else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
_SIZE = 100_000
_WITHIN_S = 900

# The guest's init: each way of choosing ports in turn, five rounds.
_INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
ip link set lo up
echo "guest kernel $(uname -r)"
mkdir -p /tmp/data/boot; head -c {size} /dev/urandom > /tmp/data/boot/f
echo "G f" > /tmp/script
for round in 1 2 3 4 5; do
  for ports in "" 5000-5010 69; do
    off='[dhcp]\\nmode = "off"\\n[http]\\nenabled = false\\n'
    printf '[server]\\ndata = "/tmp/data"\\n[tftp]\\ndata_ports = "%s"\\n%b' "$ports" "$off" > /tmp/p.toml
    PYTHONPATH=/site python3 -m pinetboot serve --config /tmp/p.toml >/dev/null 2>&1 & daemon=$!
    sleep 15
    before=$(awk '{{print $14 + $15}}' /proc/$daemon/stat)
    said=$(/load 127.0.0.1 69 /tmp/script -c {clients} -n {clients} -e {size} -t 20000 -d 240)
    after=$(awk '{{print $14 + $15}}' /proc/$daemon/stat)
    echo "RESULT ports=[$ports] cpu_ticks=$((after - before)) $said"
    kill $daemon; wait $daemon
  done
done
echo GUEST-DONE
sync; echo o > /proc/sysrq-trigger; sleep 5
"""


def main() -> None:
    """Build the guest, run it, print what it measured."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    arguments.add_argument("--clients", type=int, default=500)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="pinetboot-guest-") as temporary:
        cache = Path(os.environ.get("PINETBOOT_TEST_CACHE") or temporary)
        cache.mkdir(parents=True, exist_ok=True)
        kernel, root = _base(cache)
        archive = _archive(root, Path(temporary), chosen.clients)
        _boot(kernel, archive, Path(temporary) / "serial.log")


def _base(cache: Path) -> tuple[Path, Path]:
    """A Debian root with Python, and its kernel; made once."""
    root = cache / "bench-guest-root"
    if not (root / "done").exists():
        shutil.rmtree(root, ignore_errors=True)
        packages = "python3,iproute2,linux-image-cloud-amd64"
        subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)], check=True)
        (root / "done").touch()
    return next((root / "boot").glob("vmlinuz-*")), root


def _archive(root: Path, folder: Path, clients: int) -> Path:
    """The root, this checkout and the load generator as one initramfs."""
    site = root / "site"
    shutil.rmtree(site, ignore_errors=True)
    for source in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        shutil.copytree(source, site, dirs_exist_ok=True, ignore=shutil.ignore_patterns("pip*", "mypy*", "ruff*"))
    shutil.copytree(REPOSITORY / "pinetboot", site / "pinetboot", dirs_exist_ok=True)
    subprocess.run(["cc", "-O2", "-w", "-static", "-o", str(root / "load"), str(HERE / "load.c")], check=True)
    (root / "init").write_text(_INIT.format(size=_SIZE, clients=clients))
    (root / "init").chmod(0o755)
    archive = folder / "initramfs"
    find = "find . -path ./lib/modules -prune -o -path ./usr/lib/modules -prune -o -path ./boot -prune -o -print0"
    with archive.open("wb") as file:
        subprocess.run(
            ["sh", "-c", f"{find} | cpio --null --create --format=newc --quiet"], cwd=root, stdout=file, check=True
        )
    return archive


def _boot(kernel: Path, archive: Path, log: Path) -> None:
    command = [
        "timeout",
        str(_WITHIN_S),
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
    ]
    command += ["-m", "3G", "-nographic", "-no-reboot", "-net", "none", "-serial", f"file:{log}", "-monitor", "none"]
    command += ["-kernel", str(kernel), "-initrd", str(archive), "-append", "console=ttyS0 quiet panic=-1"]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    lines = log.read_text(errors="replace").splitlines()
    for line in lines:
        if line.startswith(("guest kernel", "RESULT")):
            print(line)
    if not any("GUEST-DONE" in line for line in lines):
        sys.exit("the guest did not come to its end:\n" + "\n".join(lines[-20:]))


if __name__ == "__main__":
    main()
