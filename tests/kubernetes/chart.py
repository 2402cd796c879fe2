"""What is made from something else in the chart: the schema of its values, and the table of its README.

`python tests/kubernetes/chart.py` writes both anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from pinetboot.config import Config

CHART = Path(__file__).parent.parent.parent / "container" / "chart"
README = CHART / "README.md"
SCHEMA = CHART / "values.schema.json"
VALUES = CHART / "values.yaml"

# What the chart says by itself: an address that kube-vip holds, and where it mounts things.
OWN = (("Server", "address"), ("Server", "data"), ("Fleet", "file"))

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_OBJECT = {"type": "object"}
_OBJECTS = {"type": "array", "items": _OBJECT}
_DIRECTORY = {"type": "string", "pattern": "^/"}
_IPV4 = r"^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(\.|$)){4}$"
_IMAGE = {
    "source": {"type": "string", "minLength": 1},
    "name": {"type": "string", "pattern": "^[0-9A-Za-z][0-9A-Za-z._-]*$", "maxLength": 64},
    "sha256": {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
    "replace": _FLAG,
}


def _closed(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    found = {"type": "object", "additionalProperties": False, "properties": properties}
    return found | ({"required": list(required)} if required else {})


def _properties() -> dict[str, Any]:
    return {
        "address": {"type": "string", "pattern": f"^auto$|{_IPV4}"},
        "vip": _closed(
            {"enabled": _FLAG, "interface": {"type": "string", "maxLength": 15}, "image": _TEXT, "resources": _OBJECT}
        ),
        "nfs": _closed({"enabled": _FLAG, "stateDir": _DIRECTORY, "modulesDir": _DIRECTORY}),
        "config": {"$ref": "#/$defs/Config"},
        "fleet": _TEXT,
        "images": {"type": "array", "items": _closed(_IMAGE, required=("name", "source"))},
        "image": _closed(
            {"repository": _TEXT, "tag": _TEXT, "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]}}
        ),
        "imagePullSecrets": _OBJECTS,
        "kind": {"enum": ["DaemonSet", "Deployment"]},
        "replicas": {"type": "integer", "minimum": 0},
        "nodeSelector": _TEXTS,
        "tolerations": _OBJECTS,
        "priorityClassName": _TEXT,
        "podAnnotations": _TEXTS,
        "probes": _closed({"enabled": _FLAG}),
        "resources": _OBJECT,
        "persistence": _closed(
            {
                "existingClaim": _TEXT,
                "hostPath": {"type": "string", "pattern": "^(/|$)"},
                "storageClass": _TEXT,
                "accessModes": {"type": "array", "items": {"enum": ["ReadWriteMany", "ReadWriteOnce"]}, "minItems": 1},
                "size": _TEXT,
                "annotations": _TEXTS,
            }
        ),
        "service": _closed({"enabled": _FLAG, "annotations": _TEXTS}),
        "podMonitor": _closed({"enabled": _FLAG, "interval": _TEXT, "labels": _TEXTS}),
        "extraManifests": _OBJECTS,
        # Helm's own, where the chart is one of another's dependencies.
        "global": _OBJECT,
    }


def _untitled(part: Any) -> Any:
    """Leave out the titles that pydantic makes of names."""
    if isinstance(part, dict):
        return {key: _untitled(value) for key, value in part.items() if key != "title"}
    return part


def schema() -> dict[str, Any]:
    """Make the schema of the values; that of `config` is pinetboot's own."""
    settings = _untitled(Config.model_json_schema())
    definitions = settings.pop("$defs")
    for section, key in OWN:
        del definitions[section]["properties"][key]
    held = {"properties": {"enabled": {"const": True}}, "required": ["enabled"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_closed(_properties()),
        "if": {"properties": {"vip": held}, "required": ["vip"]},
        "then": {"properties": {"address": {"pattern": _IPV4}}},
        "$defs": definitions | {"Config": settings},
    }


def rows() -> list[tuple[str, Any, str]]:
    """List the values: name, default, and the comment above each."""
    found: list[tuple[str, Any, str]] = []
    whole = yaml.safe_load(VALUES.read_text())
    path: list[str] = []
    comment: list[str] = []
    for line in VALUES.read_text().splitlines()[1:]:
        if (said := re.match(r" *# (.*)", line)) is not None:
            comment.append(said[1])
            continue
        if (key := re.match(r"( *)(\w+):", line)) is not None and len(key[1]) <= 2:
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment:
                value = whole
                for step in path:
                    value = value[step]
                found.append((".".join(path), value, " ".join(comment)))
        comment = []
    return found


def table() -> str:
    """Make the README's table of values."""
    lines = ["| value | default | what it is |", "|---|---|---|"]
    for name, value, comment in rows():
        shown = json.dumps(value).replace("|", r"\|")
        lines.append(f"| `{name}` | `{shown}` | {comment} |")
    return "\n".join(lines) + "\n"


def _write() -> None:
    SCHEMA.write_text(json.dumps(schema(), indent=2) + "\n")
    text = README.read_text()
    README.write_text(
        text[: text.index("| value |")] + table() + text[text.index("\n\n", text.index("| value |")) + 1 :]
    )


if __name__ == "__main__":
    _write()
