"""Seed folders on disk: filled in for a Pi, and what is wrong with them said without a word of what is in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.boot import cloudinit, seeds
from pinetboot.boot.cloudinit import Asker
from pinetboot.boot.template import TemplateFault
from pinetboot.fleet.pi import Pi

SECRET = "hunter2-correct-horse"  # noqa: S105 - an example, and nobody's


def asker(**said: Any) -> Asker:
    pi = Pi.model_validate({"serial": "5b154510", "seed": "own", "data": {"token": SECRET}} | said)
    return Asker("192.0.2.7", pi.serial, pi, "1", "192.0.2.1", 80)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "own"
    made.mkdir()
    return made


def test_a_file_is_made_from_its_folder(folder: Path) -> None:
    (folder / "user-data").write_text("#cloud-config\n# {{ pi.serial }}\n")
    assert seeds.make(folder, "user-data", asker()) == b"#cloud-config\n# 5b154510\n"
    assert seeds.make(folder, "vendor-data", asker()) == b""
    with pytest.raises(TemplateFault, match="there is no folder cloud-init/own"):
        seeds.make(folder / "missing", "user-data", asker())
    assert seeds.make(folder / "missing", "user-data", asker(seed="default")) == b"#cloud-config\n"


@pytest.mark.parametrize(
    ("name", "text", "sentences"),
    [
        ("user-data", "", []),
        ("user-data", "\n #CLOUD-config\nusers: []\n", []),
        ("user-data", "#!/bin/sh\n: [\n", []),
        ("user-data", "#cloud-config-archive\n- x\n", []),
        ("user-data", "#include\nhttp://192.0.2.1/x\n", []),
        ("user-data", "Content-Type: multipart/mixed\nMIME-Version: 1.0\n", []),
        ("user-data", "## template: jinja\n#cloud-config\n{{ v1.local_hostname }}\n", []),
        ("user-data", "\x1f\x8b\0packed", []),
        ("user-data", "users: []\n", ["user-data, as this Pi gets it: it begins with nothing that cloud-init knows"]),
        ("vendor-data", "#cloud-config\n- a\n", ["vendor-data, as this Pi gets it: it is no YAML of keys and values"]),
        ("user-data", "#cloud-config\na: b: {{ data.token }}\n", ["user-data, as this Pi gets it: line 2 is no YAML"]),
        ("user-data", "#cloud-config\na: {{ data.tok }}\n", ["user-data, line 2: data.tok is not set for this Pi"]),
        ("meta-data", "instance-id: {{ pi.serial }}\n", []),
        ("meta-data", "local-hostname: x\n", ["meta-data, as this Pi gets it: it has no instance-id"]),
        ("meta-data", "", ["meta-data, as this Pi gets it: it has no instance-id"]),
        ("network-config", "version: 2\n", []),
        ("network-config", "version 2\n", ["network-config, as this Pi gets it: it is no YAML of keys and values"]),
    ],
)
def test_what_is_wrong(folder: Path, name: str, text: str, sentences: list[str]) -> None:
    (folder / name).write_bytes(text.encode("latin-1"))
    found = seeds.faults(folder, asker())
    assert len(found) == len(sentences), found
    for sentence, begins in zip(found, sentences, strict=True):
        assert sentence.startswith(f"cloud-init/own/{begins}")
        assert SECRET not in sentence


def test_all_files_are_looked_at_and_a_missing_folder_is_told_once(folder: Path) -> None:
    os.mkfifo(folder / "user-data")
    (folder / "vendor-data").mkdir()
    (folder / "network-config").write_text("{% frob %}")
    found = seeds.faults(folder, asker())
    assert found[:2] == [
        "cloud-init/own/user-data cannot be read: Invalid argument",
        "cloud-init/own/vendor-data cannot be read: Is a directory",
    ]
    assert found[2].startswith("cloud-init/own/network-config, line 1: ")
    assert len(found) == 3
    assert seeds.faults(folder / "missing", asker()) == [
        "there is no folder cloud-init/own, which fleet.toml names as the seed"
    ]
    assert seeds.faults(folder / "missing", asker(seed="default")) == []


def test_templates_of_no_pi_yet(folder: Path) -> None:
    (folder / "user-data").write_text("#cloud-config\n{{ pi.serial }} {{ data.anything }}\n")
    assert seeds.faults_for_any(folder) == []
    (folder / "meta-data").write_text("{{ pii.serial }}")
    (folder / "vendor-data").mkdir()
    assert seeds.faults_for_any(folder) == [
        "cloud-init/own/meta-data, line 1: pii is unknown; there are pi, data, server and seed",
        "cloud-init/own/vendor-data cannot be read: Is a directory",
    ]


@given(name=st.sampled_from(cloudinit.SEED_FILES), content=st.binary(max_size=200))
def test_no_bytes_are_a_fault_of_ours(name: str, content: bytes) -> None:
    for start in (b"", b"#cloud-config\n"):
        assert isinstance(cloudinit.misread(name, start + content), str)
