"""Writes the values.schema.json of every chart: `make charts-schema`.

values.yaml says most of it: which keys there are, and the type of each by its default. RULES has what a default cannot
say. A mapping with keys is closed, and its keys are required: an unknown key is a mistake, as is one that was removed
by a `null`. An empty mapping is open.

What is passed on to Kubernetes, such as a toleration, a Service's type or an image's tag, is not described here:
Kubernetes judges it, by the version that it is.
"""

import json
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).resolve().parent
UMBRELLA = "video-platform"
NAMES = ("etcd", "mysql", "user-svc", "gateway-svc", UMBRELLA)

Schema = dict[str, Any]


def _each(rule: Schema, *ends: str) -> dict[str, Schema]:
    return dict.fromkeys(ends, rule)


def _bounds(minimum: int, maximum: int | None = None) -> Schema:
    return {"minimum": minimum} if maximum is None else {"minimum": minimum, "maximum": maximum}


def _pattern(pattern: str, *examples: str, **more: Any) -> Schema:
    return {"pattern": pattern, **more, **({"examples": list(examples)} if examples else {})}


def _mapping(values: Schema, *examples: dict[str, Any], **more: Any) -> Schema:
    """A mapping whose keys are the operator's own."""
    more |= {"examples": list(examples)} if examples else {}
    return {"type": "object", "additionalProperties": values, **more}


KUBERNETES: Schema = {"type": "object"}
BOOLEAN: Schema = {"type": "boolean"}
TEXT: Schema = {"type": "string"}
TYPES: dict[type, Schema] = {bool: BOOLEAN, int: {"type": "integer", "minimum": 0}, str: TEXT}
TEXTS: Schema = {"items": TEXT}
NUMBER: Schema = {"type": "number", "minimum": 0}
OBJECT_OR_TEXT: Schema = {"items": {"type": ["object", "string"]}}
# RFC 1123 subdomain, or nothing
OBJECT_NAME = _pattern(r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$")
WORD = _pattern("^[A-Za-z0-9._-]+$")
HOST_PORT = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}"
THRESHOLDS: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": dict.fromkeys(("critical", "warning"), NUMBER),
}

RULES: dict[str, Schema] = {
    # Kubernetes' own, of which a default shows a part
    **_each(KUBERNETES, "resources", "startupProbe", "livenessProbe", "readinessProbe"),
    **_each(KUBERNETES, "podSecurityContext", "securityContext"),
    **_each(_mapping(TEXT), "labels", "commonLabels", "podLabels", "nodeSelector", "issuerRef"),
    **_each(_mapping(TEXT), "annotations", "commonAnnotations", "podAnnotations"),
    "metrics.annotations": BOOLEAN,
    **_each({"type": ["integer", "string"]}, "minAvailable", "maxUnavailable"),
    "persistence.size": {"type": ["string", "number"]},
    # Lists
    **_each(TEXTS, "ipFamilies", "hostnames", "loadBalancerSourceRanges", "extraArgs"),
    **_each(OBJECT_OR_TEXT, "extraObjects", "global.imagePullSecrets"),
    **_each({"items": {**TEXT, "minLength": 1}, "minItems": 1}, "clients", "clientNames"),
    **_each({"items": {**TEXT, **_pattern("^[^,]+$")}}, "origins", "previousSecrets"),
    "trustedProxies": {"items": {**TEXT, **_pattern("^[0-9a-f.:/]+$|^none$")}, "examples": [["10.244.0.0/16"]]},
    # Numbers
    "replicaCount": {"type": ["integer", "null"], "minimum": 0},
    "etcd.replicaCount": {"enum": [1, 3]},
    **_each(
        {"type": ["integer", "null"], "minimum": 1, "examples": [90]},
        "user-svc.terminationGracePeriodSeconds",
        "gateway-svc.terminationGracePeriodSeconds",
    ),
    **_each(_bounds(0, 600), "drainDelaySeconds", "graceSeconds"),
    **_each(_bounds(1), "keepDays", "deadlineSeconds"),
    "intervalSeconds": _bounds(1, 600),
    "registryTTLSeconds": _bounds(1, 3600),
    "bcryptCost": _bounds(10, 16),
    "hashSlots": _bounds(0, 256),
    "databasePool.size": _bounds(1, 1000),
    "databasePool.maxOverflow": _bounds(0, 1000),
    "database.port": _bounds(1, 65535),
    "quotaBackendBytes": _bounds(16 * 2**20),
    "accessSample": {"type": "number", **_bounds(0, 1)},
    # Choices
    "log.level": {"enum": ["DEBUG", "INFO", "WARNING", "ERROR"]},
    "log.format": {"enum": ["json", "text"]},
    "throttleMode": {"enum": ["enforce", "observe", "off"]},
    # YAML reads a plain `off` as false
    "throttle.mode": {"type": ["string", "boolean"], "enum": ["enforce", "observe", "off", False]},
    "passwordCheck": {"enum": ["change", "off"]},
    "initialClusterState": {"enum": ["new", "existing"]},
    "autoCompaction.mode": {"enum": ["periodic", "revision"]},
    "logLevel": {"enum": ["debug", "info", "warn", "error", "panic", "fatal"]},
    # The umbrella has one etcd and one MySQL for all
    **_each(
        {"const": False},
        *(f"{UMBRELLA}.{chart}.enabled" for chart in ("gateway-svc.etcd", "user-svc.etcd", "user-svc.mysql")),
    ),
    # Text
    **_each(OBJECT_NAME, "existingSecret", "caSecret", "existingClaim"),
    **_each(WORD, "registry.service", "auth.registrar", "auth.resolver"),
    **_each(_pattern(r"^[^'\"\\\n]*$", maxLength=128), "auth.password", "auth.rootPassword"),
    "imageRegistry": _pattern("^([a-z0-9][a-z0-9._/:-]*[a-z0-9])?$"),
    "digest": _pattern("^(sha256:[0-9a-f]{64})?$", f"sha256:{'0' * 64}"),
    "fullnameOverride": _pattern("^([a-z]([-a-z0-9]{0,50}[a-z0-9])?)?$"),
    "registry.address": _pattern(
        rf"^({HOST_PORT}(,{HOST_PORT})*|https://{HOST_PORT}(,https://{HOST_PORT})*)?$",
        "a.example.com:2379,b.example.com:2380",
    ),
    "registry.prefix": _pattern("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"),
    "database.host": _pattern(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*)$"),
    "database.name": _pattern("^[A-Za-z0-9_]{1,64}$"),
    "database.username": _pattern("^[A-Za-z0-9_]{1,32}$"),
    "database.parameters": _mapping(TEXT, {"tls": "true"}, propertyNames=_pattern("^[A-Za-z_]+$")),
    "tls.serverName": _pattern("^[A-Za-z0-9.-]+$"),
    "autoCompaction.retention": _pattern(r"^[0-9]+(\.[0-9]+)?(s|m|h)?$", "30m"),
    "runbookUrl": _pattern(r"^\S*[^\s/]$"),
    "prometheusRule.disabled": _mapping(BOOLEAN, {"TargetDown": True}),
    "prometheusRule.thresholds": _mapping({"anyOf": [NUMBER, THRESHOLDS]}, {"TlsCertificateExpires": 14}),
}
"""By the end of the value's path, which starts with the chart; the longest match counts.

A rule with a type replaces what the default says, others add to it. `examples` are other legal values, where the tests
cannot tell one by the type.
"""


def _rule(path: str) -> Schema:
    fitting = [end for end in RULES if f".{path}".endswith(f".{end}")]
    return RULES[max(fitting, key=len)] if fitting else {}


def _described(path: str, default: Any) -> Schema:
    rule = _rule(path)
    if "type" in rule or "const" in rule:
        return rule
    if isinstance(default, dict):
        return _object(path, default)
    if isinstance(default, list):
        text = any(isinstance(item, str) for item in default)
        return {"type": "array", "items": TEXT if text else KUBERNETES, **rule}
    return {**TYPES[type(default)], **rule}


def _object(path: str, defaults: dict[str, Any]) -> Schema:
    if not defaults:
        return KUBERNETES
    properties = {name: _described(f"{path}.{name}", default) for name, default in defaults.items()}
    described: Schema = {"type": "object", "properties": properties}
    names = path.split(".")[1:]
    # Each chart has those globals that it reads, and accepts the others, which reach it all the same: the other
    # charts', and those of a parent chart or of what installs it, such as Rancher.
    if "global" not in names:
        described["required"] = [name for name, rule in properties.items() if "null" not in rule.get("type", ())]
    # A subchart's values are checked by its own schema.
    if not names or names[-1] not in {"global", *NAMES}:
        described["additionalProperties"] = False
    return described


def schema(chart: str) -> Schema:
    """The schema of a chart's values, its properties in the order of values.yaml.

    Raises:
        KeyError: when the type of a value is told neither by its default nor by a rule.
    """
    values = {**_values(chart), "global": _values(UMBRELLA)["global"]}
    # Helm itself adds these: what a parent chart's condition reads, and the globals of the library chart.
    described = _object(chart, {**values, "enabled": True, "lib": {}})
    described["required"] = [name for name in described["required"] if name in values]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Values of the chart {chart}",
        **described,
    }


def _values(chart: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    return values


def text(chart: str) -> str:
    """What the chart's values.schema.json holds."""
    return json.dumps(schema(chart), indent=2) + "\n"


if __name__ == "__main__":
    for chart in NAMES:
        (CHARTS / chart / "values.schema.json").write_text(text(chart))
