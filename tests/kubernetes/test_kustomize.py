"""The kustomize manifests: they build, they are valid, and what they say is what pinetboot understands."""

from __future__ import annotations

import pytest
from kubernetes.manifests import (
    KUSTOMIZE,
    OVERLAYS,
    check_whole,
    container,
    containers,
    fleet,
    of,
    overlay,
    pod,
    server,
    settings,
)

ALL = (*OVERLAYS, "example")


@pytest.mark.parametrize("name", ALL)
def test_an_overlay_builds_is_valid_and_fits_together(name: str) -> None:
    check_whole(overlay(name))


def test_every_folder_of_overlays_is_tested() -> None:
    assert sorted(path.name for path in (KUSTOMIZE / "overlays").iterdir()) == sorted(OVERLAYS)


@pytest.mark.parametrize("name", ALL)
def test_the_address_that_kube_vip_holds_is_the_one_that_clients_are_told(name: str) -> None:
    objects = overlay(name)
    said = {one["name"]: one.get("value") for one in container(of(objects, "DaemonSet", "pinetboot-vip"))["env"]}
    assert said["address"] == settings(objects).server.address
    assert said["cp_namespace"] == of(objects, "Namespace")["metadata"]["name"]


@pytest.mark.parametrize("name", ALL)
def test_kube_vip_may_run_wherever_pinetboot_does(name: str) -> None:
    objects = overlay(name)
    here, there = pod(server(objects)), pod(of(objects, "DaemonSet", "pinetboot-vip"))
    for what in ("nodeSelector", "tolerations"):
        assert here[what] == there[what]


def test_a_changed_configmap_keeps_its_name_so_that_no_pod_restarts() -> None:
    for name in ALL:
        assert of(overlay(name), "ConfigMap")["metadata"]["name"] == "pinetboot"


def test_an_overlay_says_how_roots_are_served() -> None:
    modes = {name: settings(overlay(name)).nfs.mode for name in OVERLAYS}
    assert modes == {"boot": "off", "external": "external", "nfs": "daemons"}


def test_nothing_is_privileged_where_no_roots_are_served() -> None:
    for one in containers(overlay("boot")):
        given = one["securityContext"]
        assert "privileged" not in given
        assert given["allowPrivilegeEscalation"] is False
        assert given["capabilities"]["drop"] == ["ALL"]
    assert container(server(overlay("boot")))["securityContext"]["capabilities"]["add"] == [
        "NET_BIND_SERVICE",
        "NET_RAW",
    ]


def test_only_the_import_is_privileged_where_a_nas_serves_the_roots() -> None:
    objects = overlay("external")
    assert [one["args"][0] for one in containers(objects) if one["securityContext"].get("privileged")] == ["image"]


def test_where_nfsd_runs_the_server_may_load_it_and_keeps_its_state_on_the_node() -> None:
    one = server(overlay("nfs"))
    given = container(one)["securityContext"]
    assert given == {"privileged": True, "readOnlyRootFilesystem": True, "runAsUser": 0}
    volumes = {volume["name"]: volume for volume in pod(one)["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container(one)["volumeMounts"]}
    assert "path" in mounted["/var/lib/nfs"]["hostPath"]
    assert "path" in mounted["/lib/modules"]["hostPath"]
    assert all("emptyDir" in mounted[path] for path in ("/run", "/etc/exports.d", "/tmp"))  # noqa: S108 - in the container


def test_the_example_says_what_is_a_users_own() -> None:
    objects = overlay("example")
    assert [pi.name for pi in fleet(objects).pis] == ["node-1"]
    images = container(of(objects, "Job"))["args"]
    assert [pi.image for pi in fleet(objects).pis] == [images[images.index("--name") + 1]]
    assert of(objects, "PodMonitor")["metadata"]["namespace"] == "pinetboot"
