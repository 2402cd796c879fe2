"""Seeds for one Pi: templates, what is given as it is, what stands in, and the examples that come with it."""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pytest
import yaml

from pinetboot.boot.cloudinit import SEED_FILES, Asker, check, fill, variables
from pinetboot.boot.template import TemplateFault
from pinetboot.fleet.pi import Pi

SERIAL = "5b154510"
STRANGER = Asker("192.168.1.50")


def asker(generation: str = "3", **said: Any) -> Asker:
    pi = Pi.model_validate({"serial": SERIAL, **said})
    return Asker("192.168.1.101", SERIAL, pi, generation, server="192.168.1.10", http_port=80)


def seed(name: str, content: Mapping[str, bytes], whose: Asker) -> bytes:
    return fill(name, content.get, whose)


def test_a_template_is_filled_in_for_a_pi() -> None:
    text = b"#cloud-config\n{{ pi.serial }} {{ pi.hostname }} {{ pi.image }} {{ pi.generation }} {{ pi.address }} "
    text += b"{{ data.role }} {{ server.address }}:{{ server.http_port }} {{ seed }}\n"
    whose = asker(hostname="node-1", image="lite", seed="k3s-agent", data={"role": "agent"})
    told = f"#cloud-config\n{SERIAL} node-1 lite 3 192.168.1.101 agent 192.168.1.10:80 k3s-agent\n"
    for name in SEED_FILES:
        assert seed(name, {name: text}, whose).decode() == told


def test_the_address_in_fleet_toml_goes_before_the_one_that_asks() -> None:
    assert variables(asker(address="192.168.1.200"))["pi"]["address"] == "192.168.1.200"


@pytest.mark.parametrize("name", ["mac", "image", "generation"])
def test_what_is_not_known_of_a_pi_is_an_error_and_no_gap(name: str) -> None:
    text = f"x: {{{{ pi.{name} }}}}\n".encode()
    with pytest.raises(TemplateFault, match=rf"^cloud-init/default/user-data, line 1: pi\.{name} is not set"):
        seed("user-data", {"user-data": text}, asker(generation=""))


def test_a_machine_in_no_fleet_has_its_seed_filled_in_as_well() -> None:
    text = b"{{ pi.hostname }} {{ pi.address }} {{ data.role | default('none') }}"
    assert seed("user-data", {"user-data": text}, STRANGER) == b"pi-192-168-1-50 192.168.1.50 none"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#cloud-config\r\nno tags\r\n",
        b"## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n",
        b"\n ## Template: Jinja\n{{ ds.meta_data.data }}\n",
        gzip.compress(b"#cloud-config\n{{ pi.hostname }}", mtime=0),
        b"{{ pi.hostname }}\0",
        b"{{ pi.hostname }}\xff",
    ],
)
def test_what_is_no_template_of_ours_is_given_as_it_is(content: bytes) -> None:
    assert seed("user-data", {"user-data": content}, asker()) == content
    assert check("user-data", content) == []


def test_a_seed_may_be_filled_in_here_and_there() -> None:
    text = b"{{ '## template: jinja' }}\n#cloud-config\na: {{ pi.hostname }}\nb: {% raw %}{{ v1.region }}{% endraw %}\n"
    told = f"## template: jinja\n#cloud-config\na: pi-{SERIAL}\nb: {{{{ v1.region }}}}\n"
    assert seed("user-data", {"user-data": text}, asker()).decode() == told


def test_files_beside_it_may_be_included_and_binary_ones_not() -> None:
    beside = {"user-data": b"{% include 'part' %}", "part": b"{{ pi.serial }}"}
    assert seed("user-data", beside, asker()).decode() == SERIAL
    with pytest.raises(TemplateFault, match="part is no text file of the same folder"):
        seed("user-data", beside | {"part": b"\xff\0"}, asker())


def test_meta_data_tells_serial_generation_name_and_data() -> None:
    whose = asker(hostname="node-1", data={"role": "agent", "yes": "true", "labels": {"zone": "a"}})
    told = yaml.safe_load(seed("meta-data", {}, whose))
    assert told == {
        "instance-id": f"pinetboot-{SERIAL}-3",
        "local-hostname": "node-1",
        "data": {"role": "agent", "yes": "true", "labels": {"zone": "a"}},
    }
    assert yaml.safe_load(seed("meta-data", {}, asker(generation="")))["instance-id"] == f"pinetboot-{SERIAL}"


def test_a_machine_in_no_fleet_gets_what_it_always_got() -> None:
    known = Asker("192.168.1.50", SERIAL)
    assert seed("meta-data", {}, STRANGER) == (
        b"instance-id: pinetboot-192-168-1-50\nlocal-hostname: pi-192-168-1-50\n"
    )
    assert seed("meta-data", {}, known).decode() == f"instance-id: pinetboot-{SERIAL}\nlocal-hostname: pi-{SERIAL}\n"
    assert seed("user-data", {}, STRANGER) == b"#cloud-config\n"
    assert seed("vendor-data", {}, STRANGER) == seed("network-config", {}, STRANGER) == b""


def test_check_needs_no_pi() -> None:
    assert check("user-data", b"{{ data.x }}\n{{ hostname }}") == [
        "user-data, line 2: hostname is unknown; there are pi, data, server and seed"
    ]


# The examples

EXAMPLES = files("pinetboot") / "examples" / "cloud-init"
TOKEN = "t:'\"oken"  # noqa: S105 - an example: what YAML and the shell would stumble over
NEEDS: dict[str, dict[str, Any]] = {
    "k3s-server": {"k3s_token": TOKEN},
    "k3s-agent": {"k3s_token": TOKEN, "k3s_url": "https://192.168.1.101:6443"},
    "argocd": {"k3s_token": TOKEN, "argocd_manifest": "https://example.org/install.yaml"},
}
MORE = {"k3s_version": "v1.33.5+k3s1", "k3s_disable": ["traefik"], "argocd_sha256": "ab" * 32}


def example(name: str, data: dict[str, Any]) -> bytes:
    def read(file: str) -> bytes | None:
        path = EXAMPLES / name / file
        return path.read_bytes() if path.is_file() else None

    return fill("user-data", read, asker(seed=name, hostname="node-1", data=data))


def test_the_examples_are_these() -> None:
    assert {entry.name for entry in EXAMPLES.iterdir()} == {*NEEDS}


@pytest.mark.parametrize("name", NEEDS)
@pytest.mark.parametrize("more", [{}, MORE], ids=["least", "most"])
def test_an_example_is_cloud_config_with_sound_scripts(name: str, more: dict[str, Any]) -> None:
    text = example(name, NEEDS[name] | more)
    assert text.startswith(b"#cloud-config\n")
    content = yaml.safe_load(text)
    written = {file["path"]: file for file in content["write_files"]}
    k3s = written["/etc/rancher/k3s/config.yaml"]
    assert k3s["permissions"] == "0600"
    config = yaml.safe_load(k3s["content"])
    assert config["token"] == TOKEN
    assert config["node-name"] == "node-1"
    scripts = [file["content"] for file in content["write_files"] if file["content"].startswith("#!/bin/bash\n")]
    assert scripts
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=10, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    for command in content["runcmd"]:
        assert command[0] in written
        assert all(isinstance(word, str) for word in command)


@pytest.mark.parametrize("name", NEEDS)
def test_what_an_example_needs_is_told_by_its_name(name: str) -> None:
    for key in NEEDS[name]:
        less = {other: value for other, value in NEEDS[name].items() if other != key}
        with pytest.raises(TemplateFault, match=rf"user-data, line \d+: data\.{key} is not set for this Pi$"):
            example(name, less)


@pytest.mark.parametrize("name", NEEDS)
def test_what_an_example_says_of_fleet_toml_is_so(name: str) -> None:
    text = (EXAMPLES / name / "user-data").read_text()
    said = re.findall(r"^#   (\w+) = ", text, re.MULTILINE)
    assert {"seed", "cmdline", "disks", *NEEDS[name]} <= {*said}
    assert f'seed = "{name}"' in text
