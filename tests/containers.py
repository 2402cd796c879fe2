"""The image of container/Containerfile, built from a Debian of mmdebstrap's, and containers that run from it.

Images are kept where the test cache is, apart from those of this machine's users, by what they are made of. Python
packages are had as this machine's own pip has them, and handed to the build as files.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import debian
import pytest
from support import Daemon, require, require_root, wait_until

ROOT = Path(__file__).parent.parent
ENTRY = "/opt/pinetboot/bin/pinetboot"
DATA = "/srv/pinetboot"
SETTINGS = "/etc/pinetboot/pinetboot.toml"
USER = 10069
SERVING = ("NET_BIND_SERVICE", "NET_RAW")
# What Docker and Kubernetes do, other than podman: a user that is no root has no capability to hand on.
AS_KUBERNETES = json.dumps(["setpriv", "--inh-caps=-all", "--ambient-caps=-all", "env", ENTRY])
PYTHON = (3, 11)
_MADE_OF = ("container/Containerfile", "pyproject.toml", "README.md", "LICENSE")
_BASE = "localhost/pinetboot-base"
_NAME = "localhost/pinetboot"
_BUILD_S = 400.0
_COMMAND_S = 60.0
# On a host with cgroups of the old kind, as on any other: a hierarchy of the new kind, seen by podman alone.
_WITH_CGROUP2 = 'umount --recursive /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$0" "$@"'
# This machine's limits may be below podman's defaults, and whoever runs the tests may not raise them.
_ANYWHERE = (
    *("--runtime", "crun", "--cgroups", "disabled"),
    *("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=10000:10000"),
)


# What the build finds beside its base: wheels and no index; and, as images of Debian have it, a dpkg that does not wait
# for the disk, and nothing that is installed being started.
_GIVEN = {
    "/etc/pip.conf": "[global]\nno-index = true\nfind-links = /wheels\n",
    "/usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
    "/etc/dpkg/dpkg.cfg.d/unsafe-io": "force-unsafe-io\n",
    "/etc/apt/apt.conf.d/no-languages": 'Acquire::Languages "none";\n',
}


def podman(*words: str) -> list[str]:
    """Give the command line of podman with storage of our own."""
    return [*_outside(), "podman", "--root", str(_storage()), "--runroot", "/run/pinetboot-tests", *words]


def _outside() -> list[str]:
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _WITH_CGROUP2]


def _storage() -> Path:
    return debian.cache() / "containers"


def run(*words: str, within_s: float = _COMMAND_S) -> subprocess.CompletedProcess[str]:
    """Run podman to its end."""
    return subprocess.run(podman(*words), capture_output=True, text=True, timeout=within_s, check=False, cwd=ROOT)


def _did(*words: str, within_s: float = _COMMAND_S) -> str:
    done = run(*words, within_s=within_s)
    assert done.returncode == 0, f"podman {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout.strip()


@cache
def image() -> str:
    """Get the image, built where it is not there yet; its name."""
    require_root()
    require("podman", "crun", "mmdebstrap", "unshare")
    if sys.version_info[:2] != PYTHON:
        pytest.skip(f"the image's Python is {PYTHON}, these tests run in {sys.version_info[:2]}")
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    name = f"{_NAME}:{digest.hexdigest()[:12]}"
    with _alone():
        if run("image", "exists", name).returncode:
            _build(name)
    return name


def _sources() -> list[Path]:
    package = (path for path in (ROOT / "pinetboot").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [*(ROOT / name for name in _MADE_OF), *sorted(package)]


@contextmanager
def _alone() -> Iterator[None]:
    """Have other processes that run tests wait."""
    _storage().mkdir(exist_ok=True)
    with (_storage() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(name: str) -> None:
    tree, wheels = debian.tree(), _wheels()
    base = f"{_BASE}:{hashlib.sha256(f'{tree.name} {tree.stat().st_size}'.encode()).hexdigest()[:12]}"
    if run("image", "exists", base).returncode:
        _did("import", str(tree), base)
    before = [line for line in _did("images", "--quiet", "--no-trunc", _NAME).splitlines() if line]
    given = {wheels: "/wheels"} | {wheels / path.rpartition("/")[2]: path for path in _GIVEN}
    volumes = (word for source, target in given.items() for word in ("--volume", f"{source}:{target}:ro"))
    _did(
        *("build", "--isolation", "chroot", "--network", "host", "--format", "docker", "--build-arg", f"BASE={base}"),
        *(*volumes, "--tag", name, "--file", "container/Containerfile", "."),
        within_s=_BUILD_S,
    )
    if before:
        run("rmi", *before)


def _wheels() -> Path:
    """Get what pinetboot needs, and what builds it, as wheels; and the files that a build finds with them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    kept = debian.cache() / f"wheels-{hashlib.sha256(repr((wanted, PYTHON, _GIVEN)).encode()).hexdigest()[:12]}"
    if not kept.is_dir():
        folder = kept.with_name(f".{kept.name}-{secrets.token_hex(4)}")
        folder.mkdir()
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), *wanted]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_S, check=False)
        if done.returncode:
            pytest.skip(f"pinetboot's dependencies cannot be had as wheels: {done.stderr.strip()[-300:]}")
        for path, text in _GIVEN.items():
            (folder / path.rpartition("/")[2]).write_text(text)
            (folder / path.rpartition("/")[2]).chmod(0o755)
        folder.rename(kept)
    return kept


def bytes_of(name: str) -> int:
    """How large an image is, all of its layers."""
    return int(_did("image", "inspect", "--format", "{{.Size}}", name))


def disk_of(name: str, made: Path) -> None:
    """Make an ext4 file system of what is in an image, capabilities of files included."""
    require("mke2fs")
    container = _did("create", *_ANYWHERE, name)
    try:
        # A mount is seen by those alone that are in the same mount namespace.
        mounted = 'mke2fs -q -F -t ext4 -d "$("$@")" "$0" 1G'
        whole = [*_outside(), "sh", "-c", mounted, str(made), *podman("mount", container)[len(_outside()) :]]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=_BUILD_S, check=False)
        assert done.returncode == 0, done.stderr
    finally:
        run("rm", "--force", container)


@dataclass
class Container(Daemon):
    """`pinetboot serve` from the image, on a host of a LAN (`network`), with these capabilities and no others.

    `user` 0 is root; `entry` what runs instead of the image's own; `volumes` host paths with their places in there.
    """

    network: str = ""
    capabilities: Sequence[str] = SERVING
    user: int = 0
    entry: str = ""
    more: Sequence[str] = ()
    volumes: dict[Path, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"pinetboot-test-{secrets.token_hex(4)}")

    def command(self) -> list[str]:
        if self.user:
            subprocess.run(["chown", "--recursive", str(self.user), self.data], check=True)
        words = ["run", "--name", self.name, *_ANYWHERE, *confined(self.network, self.capabilities, self.user)]
        volumes = {self.data: DATA, self.settings: f"{SETTINGS}:ro", **self.volumes}
        words += [word for source, target in volumes.items() for word in ("--volume", f"{source}:{target}")]
        words += ["--entrypoint", self.entry] if self.entry else []
        return podman(*words, *self.more, image(), *(("serve",) if self.entry else ()))

    def does(self, *command: str, within_s: float = _COMMAND_S) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        return run("exec", self.name, *command, within_s=within_s)

    def stop(self, within_s: float = 30.0) -> int:
        """Do `podman stop`, and take the container away; its exit code."""
        assert self.process is not None
        if not self.process_ended:
            run("stop", "--time", str(int(within_s)), self.name)
        try:
            return self.process.wait(within_s)
        finally:
            self.process.kill()
            run("rm", "--force", "--time", "0", self.name)


def confined(network: str, capabilities: Sequence[str], user: int) -> list[str]:
    """Give flags for `podman run`: the network of a host of a LAN, the root file system read-only, these capabilities.

    `network` is the name of its namespace; the capability ALL stands for --privileged.
    """
    words = ["--network", f"ns:/run/netns/{network}", "--read-only"]
    if "ALL" in capabilities:
        return [*words, "--privileged"]
    words += ["--cap-drop", "all", *(["--cap-add", ",".join(capabilities)] if capabilities else [])]
    return [*words, "--user", str(user)] if user else words


def once(
    network: str, *arguments: str, capabilities: Sequence[str] = SERVING, flags: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run one command of pinetboot as root in a container of its own."""
    words = [*_ANYWHERE, *confined(network, capabilities, 0), *flags]
    return run("run", "--rm", *words, image(), *arguments, within_s=120.0)


def is_healthy(container: Container) -> bool:
    """Do the image's own health check."""
    return bool(wait_until(lambda: not run("healthcheck", "run", container.name).returncode, 20))
