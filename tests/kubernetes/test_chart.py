"""The Helm chart, by Helm's own engine: valid whatever the values, the same as the overlays, closed to nonsense."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from typing import Any

import helm_python
import pytest
import yaml
from helm_python.errors import HelmError
from kubernetes.chart import CHART, README, SCHEMA, rows, schema, table
from kubernetes.manifests import (
    OLDEST,
    Object,
    check_whole,
    container,
    fleet,
    host_ports,
    of,
    overlay,
    pod,
    rendered,
    server,
    settings,
)

import pinetboot

IMAGE = {
    "name": "raspios-lite",
    "source": "https://downloads.raspberrypi.com/raspios_lite_arm64/images/raspios_lite_arm64-2024-11-19/"
    "2024-11-19-raspios-bookworm-arm64-lite.img.xz",
    "sha256": "6ac3a10a1f144c7e9d1f8e568d75ca809288280a593eb6ca053e49b539f465a4",
}
VIP = {"address": "192.168.1.250", "vip": {"enabled": True}}
SAME: dict[str, Object] = {
    "boot": {**VIP, "images": [IMAGE]},
    "nfs": {**VIP, "images": [IMAGE], "nfs": {"enabled": True}},
    "external": {
        **VIP,
        "images": [IMAGE],
        "config": {"nfs": {"mode": "external", "address": "192.168.1.5", "path": "/volume1/pinetboot"}},
    },
    "example": {
        "address": "10.0.0.250",
        "vip": {"enabled": True},
        "images": [IMAGE],
        "podMonitor": {"enabled": True},
        "fleet": '[[pi]]\nserial = "5b154510"\nhostname = "node-1"\nimage = "raspios-lite"\nroot = "none"\n',
    },
}
TABLE: dict[str, Object] = {
    "nothing": {},
    "a Deployment": {"kind": "Deployment", "replicas": 3},
    "other nodes": {
        "nodeSelector": {"pinetboot": "yes", "kubernetes.io/os": "linux"},
        "tolerations": [{"key": "edge", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
        "priorityClassName": "system-node-critical",
        "podAnnotations": {"example.org/team": "rack"},
        **VIP,
    },
    "one port for all, no DHCP": {"config": {"tftp": {"data_ports": "69"}, "dhcp": {"mode": "off"}}},
    "any port": {"config": {"tftp": {"data_ports": ""}}},
    "other ports": {
        "config": {
            "tftp": {"port": 1069, "data_ports": "6000-6003"},
            "http": {"port": 8080},
            "dhcp": {"port": 1067},
            "netconsole": {"enabled": True},
            "nfs": {"mountd_port": 20048, "statd_port": 662, "lockd_port": 32803},
        },
        "nfs": {"enabled": True, "stateDir": "/var/nfs", "modulesDir": "/usr/lib/modules"},
    },
    "no HTTP": {"config": {"http": {"enabled": False}}},
    "no TFTP, no probes, no Service": {
        "config": {"tftp": {"enabled": False, "data_ports": ""}},
        "probes": {"enabled": False},
        "service": {"enabled": False},
    },
    "a claim that is there": {"persistence": {"existingClaim": "nas"}, "images": [IMAGE]},
    "a directory of the node": {
        "persistence": {"hostPath": "/srv/pinetboot"},
        "nfs": {"enabled": True},
        "images": [IMAGE],
    },
    "a claim of its own kind": {
        "persistence": {
            "storageClass": "cephfs",
            "size": "1Ti",
            "accessModes": ["ReadWriteOnce"],
            "annotations": {"a": "b"},
        }
    },
    "another image": {
        "image": {"repository": "registry.example.org/pinetboot", "tag": "1.2", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "images": [IMAGE, {"name": "Ubuntu_24.04", "source": "ubuntu-server", "replace": True}],
        **VIP,
    },
    "for external-dns": {"service": {"annotations": {"external-dns.alpha.kubernetes.io/hostname": "pi.example.org"}}},
    "monitored": {"podMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prometheus"}}},
    "all kinds of settings": {
        "config": {
            "server": {"stop_s": 2.5, "interfaces": ["eth0", "eth1"], "log_level": "debug"},
            "tftp": {"timeout_s": 0.25, "max_transfers": 1000000},
            "dhcp": {"pxe_menu": 'My "Pi" \\ & <more>', "rom_offers_s": [0.6, 1, 1.25], "lease_s": 4294967295},
            "pxe": {"0": "lpxelinux.0", "16": "http.efi"},
            "fleet": {"adopt": "auto", "default_image": "raspios-lite"},
        }
    },
    "more manifests": {
        "extraManifests": [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "more", "namespace": "{{ .Release.Namespace }}"},
                "stringData": {"a": "b"},
            }
        ]
    },
}


@pytest.mark.parametrize("name", TABLE)
def test_what_it_renders_is_valid_and_fits_together(name: str) -> None:
    objects, _ = rendered(TABLE[name])
    check_whole(objects)


@pytest.mark.parametrize("values", [{}, *SAME.values(), *TABLE.values()])
def test_it_lints(values: Object) -> None:
    told = helm_python.lint(CHART, values, strict=True, kube_version=f"v{OLDEST}")
    assert told["errors"] == []
    assert [one["error"] for one in told["messages"]] == ["icon is recommended"]


def comparable(objects: list[Object]) -> dict[str, Any]:
    """Leave out what is the packager's own, and order what has no order; parse what is text of its own."""
    found = {}
    for one in copy.deepcopy(objects):
        for key in ("labels", "annotations"):
            one["metadata"].pop(key, None)
        if one["kind"] == "Namespace":
            continue  # `helm install --create-namespace`, or who is to label it
        if one["kind"] == "Job":
            one["metadata"]["name"] = re.sub("-[0-9a-f]{8}$", "", one["metadata"]["name"])
        if one["kind"] == "ConfigMap":
            one["data"] = {key: tomllib.loads(text) for key, text in one["data"].items()}
        if "template" in one.get("spec", {}):
            pod(one)["volumes"] = sorted(pod(one).get("volumes", []), key=lambda volume: str(volume["name"]))
            only = container(one)
            only["ports"] = sorted(only.get("ports", []), key=lambda port: str(port["name"]))
            only["volumeMounts"] = sorted(only.get("volumeMounts", []), key=lambda mount: str(mount["mountPath"]))
        found[f"{one['kind']} {one['metadata']['name']}"] = one
    return found


@pytest.mark.parametrize("name", SAME)
def test_the_chart_with_an_overlays_values_is_the_overlay(name: str) -> None:
    objects, _ = rendered(SAME[name])
    check_whole(objects)
    ours, theirs = comparable(objects), comparable(overlay(name))
    assert ours.keys() == theirs.keys()
    for what, one in ours.items():
        assert one == theirs[what]


def test_labels_are_those_of_the_overlays_and_helms_own() -> None:
    (objects, _), theirs = rendered(SAME["boot"]), overlay("boot")
    for one in objects:
        labels = one["metadata"]["labels"]
        same = {
            key: value for key, value in labels.items() if key.rpartition("/")[2] in {"name", "instance", "component"}
        }
        name = re.sub("-[0-9a-f]{8}$", "", one["metadata"]["name"])
        assert same == of(theirs, one["kind"], name)["metadata"]["labels"]
        assert labels.keys() - same.keys() == {
            "app.kubernetes.io/version",
            "app.kubernetes.io/managed-by",
            "helm.sh/chart",
        }


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"adress": "auto"}, "adress"),
        ({"address": "300.1.1.1"}, "address"),
        ({"vip": {"enabled": True}}, "address"),
        ({"vip": {"enable": True}}, "enable"),
        ({"nfs": {"mode": "daemons"}}, "mode"),
        ({"kind": "StatefulSet"}, "kind"),
        ({"replicas": "two"}, "replicas"),
        ({"images": [{"name": "a"}]}, "source"),
        ({"images": [{"name": "a/b", "source": "x"}]}, "name"),
        ({"images": [{"name": "a", "source": "x", "sha265": "0" * 64}]}, "sha265"),
        ({"config": {"tftpd": {}}}, "tftpd"),
        ({"config": {"tftp": {"data_port": "1-2"}}}, "data_port"),
        ({"config": {"tftp": {"retries": "5"}}}, "retries"),
        ({"config": {"dhcp": {"mode": "prox"}}}, "mode"),
        ({"config": {"server": {"address": "10.0.0.1"}}}, "address"),
        ({"config": {"server": {"data": "/data"}}}, "data"),
        ({"config": {"fleet": {"file": "/x"}}}, "file"),
        ({"fleet": [{"serial": "5b154510"}]}, "fleet"),
        ({"service": {"annotation": {}}}, "annotation"),
        ({"persistence": {"hostPath": "srv"}}, "hostPath"),
        ({"persistence": {"accessModes": []}}, "accessModes"),
    ],
)
def test_a_value_that_is_misspelt_or_impossible_is_refused(values: Object, told: str) -> None:
    with pytest.raises(HelmError, match=told):
        rendered(values)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"config": {"nfs": {"mode": "daemons"}}}, "exactly where nfs.enabled is true"),
        ({"nfs": {"enabled": True}, "config": {"nfs": {"mode": "off"}}}, "exactly where nfs.enabled is true"),
        ({"kind": "Deployment", **VIP}, "vip.enabled needs kind DaemonSet"),
    ],
)
def test_two_values_that_contradict_each_other_are_refused(values: Object, told: str) -> None:
    with pytest.raises(HelmError, match=told):
        rendered(values)


def test_settings_come_through_as_they_were_given() -> None:
    values = TABLE["all kinds of settings"]
    objects, _ = rendered(values)
    found = settings(objects).model_dump()
    for section, keys in values["config"].items():
        for key, value in keys.items():
            assert found[section][key] == value, f"{section}.{key}"
    assert pod(server(objects))["terminationGracePeriodSeconds"] > 2.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        '# 1\n[[pi]]\nserial = "5b154510"  # left\n\n  [pi.data]\n  text = """\n  {{ seed }} of\n    Jinja: "x"\n"""\n',
        'pi = [{ serial = "5b154510", cmdline = "a: b #c" }]',
    ],
)
def test_the_fleet_comes_through_as_it_was_written(text: str) -> None:
    objects, _ = rendered({"fleet": text})
    given = of(objects, "ConfigMap")["data"]["fleet.toml"]
    assert tomllib.loads(given) == tomllib.loads(text)
    assert [line.rstrip() for line in given.strip().splitlines()] == [
        line.rstrip() for line in text.strip().splitlines()
    ]
    assert len(fleet(objects).pis) == text.count("serial")


def test_another_port_is_another_port_of_the_node() -> None:
    ports = host_ports(server(rendered({"config": {"tftp": {"data_ports": "7000-7001"}}})[0]))
    assert ports == {(67, "UDP"), (69, "UDP"), (80, "TCP"), (7000, "UDP"), (7001, "UDP")}


def test_a_deployment_gives_up_a_pod_before_it_makes_the_next() -> None:
    one = of(rendered(TABLE["a Deployment"])[0], "Deployment")
    assert one["spec"]["replicas"] == 3
    assert one["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_the_claim_outlives_the_release() -> None:
    claim = of(rendered({})[0], "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for name in ("a claim that is there", "a directory of the node"):
        assert not [one for one in rendered(TABLE[name])[0] if one["kind"] == "PersistentVolumeClaim"]


def test_a_job_that_does_anything_else_has_another_name() -> None:
    def job(**more: Any) -> str:
        name: str = of(rendered({"images": [IMAGE], **more})[0], "Job")["metadata"]["name"]
        assert len(name) <= 63
        return name

    first = job()
    assert job(fleet="# another fleet\n", config={"tftp": {"retries": 4}}) == first
    assert (
        len({first, job(image={"tag": "9"}), job(images=[IMAGE | {"replace": True}]), job(nfs={"enabled": True})}) == 4
    )
    assert len(job(images=[IMAGE | {"name": "x" * 64}])) == 63


def test_releases_of_other_names_do_not_meet() -> None:
    one, _ = rendered(SAME["boot"], name="rack-1")
    check_whole(one)
    other, _ = rendered(SAME["boot"], name="rack-2")
    names = [{(each["kind"], each["metadata"]["name"]) for each in objects} for objects in (one, other)]
    assert not names[0] & names[1]
    selectors = [server(objects)["spec"]["selector"]["matchLabels"] for objects in (one, other)]
    assert selectors[0] != selectors[1]


@pytest.mark.parametrize("name", SAME)
def test_the_notes_name_three_steps(name: str) -> None:
    _, notes = rendered(SAME[name])
    assert re.findall(r"^(\d)\. ", notes, re.MULTILINE) == ["1", "2", "3"]
    assert f"http://{SAME[name]['address']}/" in notes
    assert "pinetboot check" in notes
    assert ("rpcinfo -p" in notes) == (name == "nfs")
    assert ('root = "none"' in notes) == (name in {"boot", "example"})


def test_the_chart_is_of_this_version_of_pinetboot() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == pinetboot.__version__
    assert container(server(overlay("boot")))["image"].endswith(f":{pinetboot.__version__}")


def test_schema_and_readme_are_what_is_made_of_settings_and_values() -> None:
    again = "run `python tests/kubernetes/chart.py`"
    assert json.loads(SCHEMA.read_text()) == schema(), again
    assert table() in README.read_text(), again
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    told = {name for name, _, comment in rows() if comment}
    for key, value in values.items():
        inner = {f"{key}.{name}" for name in value} if isinstance(value, dict) else set()
        assert key in told or (inner and inner <= told), f"{key} has no comment that says what it is"
    properties = schema()["properties"]
    assert properties.keys() - {"global"} == values.keys()


def test_the_values_that_the_readme_shows_render() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    objects, _ = rendered(yaml.safe_load(text))
    check_whole(objects)
    assert of(objects, "Service")["metadata"]["annotations"]
    assert fleet(objects).pis[0].image == IMAGE["name"]
    assert container(of(objects, "Job"))["args"] == container(of(overlay("boot"), "Job"))["args"]
