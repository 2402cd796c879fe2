"""Kubernetes objects as kubectl's kustomize and Helm's own engine make them, and what is asked of any of them."""

from __future__ import annotations

import functools
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import debian
import helm_python
import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import yaml
from kubernetes.chart import CHART
from kubernetes_validate import utils

from pinetboot import checking, config
from pinetboot.config import Config
from pinetboot.fleet import pi as fleet_pi
from pinetboot.fleet.inventory import Inventory, inventory

Object = dict[str, Any]

KUSTOMIZE = CHART.parent / "kubernetes"
OVERLAYS = ("boot", "external", "nfs")
OLDEST = "1.30.0"  # which Chart.yaml names
VERSIONS = (OLDEST, *utils.all_versions()[-3:])
NFS_PORT, RPCBIND_PORT = 2049, 111
_BUILD_S = 60.0
_SETTINGS = "/etc/pinetboot/pinetboot.toml"
_PODMONITOR = "monitoring.coreos.com/v1"

# It reads some megabytes of definitions for each object.
utils.schema_contents = functools.cache(utils.schema_contents)


@functools.cache
def kubectl() -> Path:
    """Get Debian 13's kubectl: the one of Debian 12 is too old for components and patches."""
    return debian.packages("kubectl-trixie", ["kubectl"], release="trixie") / "usr" / "bin" / "kubectl"


@functools.cache
def built(folder: Path) -> str:
    """Have `kubectl kustomize` build a folder; it has nothing to complain about."""
    done = subprocess.run(
        [kubectl(), "kustomize", folder], capture_output=True, text=True, timeout=_BUILD_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def overlay(name: str) -> list[Object]:
    """Give the objects of an overlay, or of `example`."""
    folder = KUSTOMIZE / "example" if name == "example" else KUSTOMIZE / "overlays" / name
    return list(yaml.safe_load_all(built(folder)))


def rendered(values: Object, *, name: str = "pinetboot") -> tuple[list[Object], str]:
    """Have Helm render the chart into a namespace; gives the objects and the notes."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name=name, namespace="pinetboot")
    notes = files.pop("pinetboot/templates/NOTES.txt")
    return [one for text in files.values() for one in yaml.safe_load_all(text) if one], notes


def validate(objects: Sequence[Object]) -> None:
    """Hold objects against the schemas of several Kubernetes versions, which refuse what they do not know."""
    for one in objects:
        if one["apiVersion"] == _PODMONITOR:
            assert set(one) == {"apiVersion", "kind", "metadata", "spec"}
            assert set(one["spec"]) == {"selector", "podMetricsEndpoints"}
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except utils.ValidationError as error:
                where = ".".join(map(str, error.path))
                name = f"{one['kind']} {one['metadata']['name']}"
                raise AssertionError(f"{name} in {version}: {where}: {error.message}") from None


def of(objects: Sequence[Object], kind: str, name: str = "") -> Object:
    """Pick the one object of that kind, and of that name where it is given."""
    (found,) = (one for one in objects if one["kind"] == kind and name in {"", one["metadata"]["name"]})
    return found


def server(objects: Sequence[Object]) -> Object:
    """Pick what runs `pinetboot serve`."""
    (found,) = (
        one
        for one in objects
        if one["kind"] in {"DaemonSet", "Deployment"}
        and one["metadata"]["labels"]["app.kubernetes.io/component"] == "server"
    )
    return found


def pod(one: Object) -> Object:
    """Give the pod of a workload."""
    spec: Object = one["spec"]["template"]["spec"]
    return spec


def container(one: Object) -> Object:
    """Give the only container of a workload."""
    (found,) = pod(one)["containers"]
    only: Object = found
    return only


def containers(objects: Sequence[Object]) -> Iterator[Object]:
    """Give the containers of all workloads."""
    for one in objects:
        if "template" in one.get("spec", {}):
            yield container(one)


def text_of(objects: Sequence[Object], key: str) -> str:
    """Give a file of the ConfigMap."""
    found: str = of(objects, "ConfigMap")["data"][key]
    return found


def settings(objects: Sequence[Object]) -> Config:
    """Have pinetboot itself check the settings in the ConfigMap."""
    return config.build(tomllib.loads(text_of(objects, "pinetboot.toml")), _SETTINGS)


def fleet(objects: Sequence[Object]) -> Inventory:
    """Have pinetboot itself check the fleet in the ConfigMap."""
    text = text_of(objects, "fleet.toml")
    return inventory(fleet_pi.build(checking.parse(text, "fleet.toml"), "fleet.toml"), "fleet.toml")


def host_ports(one: Object) -> set[tuple[int, str]]:
    """Give the ports that a workload takes of its node, each as the container's own."""
    listed = container(one).get("ports", [])
    for port in listed:
        assert port["hostPort"] == port["containerPort"], "on the host's network they are the same"
    assert len({port["name"] for port in listed}) == len(listed)
    # `kubectl apply` and Helm patch the list by number alone.
    assert len({port["containerPort"] for port in listed}) == len(listed)
    assert all(len(port["name"]) <= 15 for port in listed), "the API takes no longer names"
    return {(port["hostPort"], port["protocol"]) for port in listed}


def ports_of(found: Config) -> set[tuple[int, str]]:
    """Say which ports pinetboot listens on, with these settings."""
    ports = {(found.tftp.port, "UDP")} if found.tftp.enabled else set()
    ports |= {(found.http.port, "TCP")} if found.http.enabled else set()
    ports |= {(found.dhcp.port, "UDP")} if found.dhcp.mode != "off" else set()
    ports |= {(found.netconsole.port, "UDP")} if found.netconsole.enabled else set()
    if found.tftp.port_range is not None:
        ports |= {(port, "UDP") for port in range(found.tftp.port_range.first, found.tftp.port_range.last + 1)}
    if found.nfs.mode == "daemons":
        of_nfs = (RPCBIND_PORT, NFS_PORT, found.nfs.mountd_port, found.nfs.statd_port, found.nfs.lockd_port)
        ports |= {(port, "TCP") for port in of_nfs}
    return ports


def check_whole(objects: Sequence[Object]) -> None:
    """Hold everything that any set of manifests must do against one: schemas, settings, ports, and what names what."""
    validate(objects)
    found, serves = settings(objects), server(objects)
    fleet(objects)
    assert host_ports(serves) == ports_of(found)
    _check_mounts(objects, found)
    labels = serves["spec"]["template"]["metadata"]["labels"].items()
    names = {port["name"] for port in container(serves).get("ports", [])}
    for one in objects:
        if one["kind"] in {"DaemonSet", "Deployment"}:
            chosen = one["spec"]["selector"]["matchLabels"]
            assert chosen.items() <= one["spec"]["template"]["metadata"]["labels"].items()
        if one["kind"] == "Service":
            assert one["spec"]["selector"].items() <= labels
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= names
        if one["kind"] == "PodMonitor":
            assert one["spec"]["selector"]["matchLabels"].items() <= labels
            assert {end["port"] for end in one["spec"]["podMetricsEndpoints"]} <= names


def _check_mounts(objects: Sequence[Object], found: Config) -> None:
    """Everything that pinetboot reads and writes is mounted where it looks for it, the ConfigMap as a directory."""
    data = set()
    for one in objects:
        if "template" not in one.get("spec", {}) or container(one)["name"] != "pinetboot":
            continue
        volumes = {volume["name"]: volume for volume in pod(one)["volumes"]}
        mounts = {mount["mountPath"]: mount for mount in container(one)["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} == set(volumes)
        given = mounts[str(found.fleet_file.parent)]
        assert given == {"name": "settings", "mountPath": "/etc/pinetboot", "readOnly": True}
        assert str(Path(_SETTINGS).parent) == given["mountPath"]
        assert volumes["settings"] == {
            "name": "settings",
            "configMap": {"name": of(objects, "ConfigMap")["metadata"]["name"]},
        }
        assert mounts["/srv/pinetboot"]["name"] == "data"
        data.add(repr(volumes["data"]))
        assert str(found.data) == "/srv/pinetboot"
        assert volumes[mounts["/tmp"]["name"]]["emptyDir"] == {}  # noqa: S108 - in the container
    assert len(data) == 1, "the Jobs bring images into the very volume that is served"
