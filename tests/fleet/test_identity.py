"""A Pi's identity: made once, complete or absent, and good enough for sshd."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from imagetrees import snapshot

from pinetboot import files
from pinetboot.fleet import identity


def test_it_is_made_once(tmp_path: Path) -> None:
    identity.ensure(tmp_path, "node-1")
    before = snapshot(tmp_path)
    identity.ensure(tmp_path, "node-2")
    assert snapshot(tmp_path) == before
    assert sorted(before) == [
        "identity",
        "identity/machine-id",
        *(f"identity/ssh_host_{kind}_key{end}" for kind in ("ecdsa", "ed25519") for end in ("", ".pub")),
    ]
    assert stat.S_IMODE(before["identity"][0]) == 0o700


def test_every_pi_has_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        identity.ensure(tmp_path / name, name)
    one, two = identity.host_keys(tmp_path / "one"), identity.host_keys(tmp_path / "two")
    assert not set(one.values()) & set(two.values())
    ids = [identity.machine_id(tmp_path / name) for name in ("one", "two")]
    assert ids[0] != ids[1]
    # systemd's are version 4 UUIDs, machine-id(5)
    assert all(re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\n", one) for one in ids)


def test_the_keys_are_such_as_openssh_reads(tmp_path: Path) -> None:
    identity.ensure(tmp_path, "node-1")
    for kind, first in {"ed25519": "ssh-ed25519", "ecdsa": "ecdsa-sha2-nistp256"}.items():
        path = tmp_path / "identity" / f"ssh_host_{kind}_key"
        assert stat.S_IMODE(path.stat().st_mode) == identity.mode(path.name) == 0o600
        public = path.with_suffix(".pub")
        assert stat.S_IMODE(public.stat().st_mode) == identity.mode(public.name) == 0o644
        words = public.read_text().split()
        assert (words[0], words[2]) == (first, "root@node-1")
        assert path.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        private = load_ssh_private_key(path.read_bytes(), None)
        assert private.public_key() == load_ssh_public_key(public.read_bytes())
        if shutil.which("ssh-keygen"):
            told = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, check=True).stdout
            assert told.split()[:2] == [word.encode() for word in words[:2]]


def test_keys_of_the_user_s_own_are_used(tmp_path: Path) -> None:
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "ssh_host_ed25519_key").write_text("mine")
    identity.ensure(tmp_path, "node-1")
    assert identity.host_keys(tmp_path) == {"ssh_host_ed25519_key": "mine"}
    assert identity.machine_id(tmp_path)


def test_what_was_cut_off_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(old: Path, new: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "move", die)
        with pytest.raises(KeyboardInterrupt):
            identity.ensure(tmp_path, "node-1")
    assert [path.name for path in tmp_path.iterdir()] == [".new-identity"]
    identity.ensure(tmp_path, "node-1")
    assert [path.name for path in tmp_path.iterdir()] == ["identity"]
    assert len(identity.host_keys(tmp_path)) == 4
