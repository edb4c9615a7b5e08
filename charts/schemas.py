"""Writes the values.schema.json of every chart: `make charts-schema`.

Helm reads one file a chart and lets none refer to another, so what charts have in common is defined once, here, and
copied. `examples` are legal values other than the default, by which tests see that a value has an effect.

Our own keys are closed: an unknown one is a mistake. What is Kubernetes' own, such as a toleration, is not described
here: the API server judges it, by the version that it is.
"""

import json
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).resolve().parent

Schema = dict[str, Any]

BOOLEAN: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number", "minimum": 0}


def string(pattern: str | None = None, *examples: str, **rules: Any) -> Schema:
    return {"type": "string", **({"pattern": pattern} if pattern else {}), **rules, **_examples(examples)}


def integer(minimum: int, example: int | None = None, maximum: int | None = None) -> Schema:
    limit = {} if maximum is None else {"maximum": maximum}
    return {"type": "integer", "minimum": minimum, **limit, **_examples(() if example is None else (example,))}


def one_of(*choices: Any) -> Schema:
    return {"enum": list(choices)}


def array(items: Schema, *examples: list[Any], **rules: Any) -> Schema:
    return {"type": "array", "items": items, **rules, **_examples(examples)}


def mapping(values: Schema | None = None, names: str | None = None, *examples: dict[str, Any]) -> Schema:
    """An object whose keys are the operator's own."""
    keys = {"propertyNames": {"pattern": names}} if names else {}
    return {"type": "object", **({"additionalProperties": values} if values else {}), **keys, **_examples(examples)}


def closed(properties: dict[str, Schema], required: list[str] | None = None, *examples: dict[str, Any]) -> Schema:
    """An object that has these keys alone, and all of them unless `required` says which."""
    needed = list(properties) if required is None else required
    needs = {"required": needed} if needed else {}
    return {"type": "object", "additionalProperties": False, "properties": properties, **needs, **_examples(examples)}


def opened(properties: dict[str, Schema]) -> Schema:
    """An object of which these keys are ours, and any other is not ours to judge."""
    return {"type": "object", "properties": properties}


def kubernetes(*examples: dict[str, Any]) -> Schema:
    """An object of Kubernetes' API."""
    return {"type": "object", **_examples(examples)}


def kubernetes_list(*examples: list[dict[str, Any]], **rules: Any) -> Schema:
    """A list of such objects."""
    return array({"type": "object"}, *examples, **rules)


def shared(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def name_or_nothing(example: str) -> Schema:
    """The name of a Kubernetes object (RFC 1123 subdomain), or an empty string."""
    return string(r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$", example)


def _examples(examples: Any) -> Schema:
    return {"examples": list(examples)} if examples else {}


TEXT = string()
NAMED = string(minLength=1)
LABEL = r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"
LABEL_KEY = r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
HOST_PORT = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}"
REPOSITORY = "[a-z0-9][a-z0-9._/:-]*[a-z0-9]"
IMAGE = {
    "tag": string(r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$", "1.2.3"),
    "digest": string(r"^(sha256:[0-9a-f]{64})?$", f"sha256:{'0' * 64}"),
    "pullPolicy": one_of("Always", "IfNotPresent", "Never"),
}
PULL_SECRET = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
FAMILIES: dict[str, Schema] = {
    "ipFamilyPolicy": one_of("", "SingleStack", "PreferDualStack", "RequireDualStack"),
    "ipFamilies": array(one_of("IPv4", "IPv6"), ["IPv6"], ["IPv6", "IPv4"], maxItems=2, uniqueItems=True),
}
COMMON = {"commonLabels": shared("labels"), "commonAnnotations": shared("strings")}
SERVICE = {"annotations": shared("strings"), "labels": shared("labels"), **FAMILIES}
PODS: Schema = {"type": ["integer", "string"], "minimum": 0}

DEFINITIONS: dict[str, Schema] = {
    "strings": mapping(TEXT, None, {"example.com/name": "value"}),
    "labels": mapping(string(LABEL, "other", maxLength=63), LABEL_KEY, {"example.com/name": "value"}),
    "quantity": {
        "type": ["string", "number"],
        "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        "minimum": 0,
        "examples": ["300Mi"],
    },
    "image": closed({"repository": string(f"^{REPOSITORY}$", "registry.example.com/team/image"), **IMAGE}),
    "imageOrNone": closed({"repository": string(f"^({REPOSITORY})?$", "registry.example.com/team/image"), **IMAGE}),
    "pullSecret": closed({"name": string(PULL_SECRET)}),
    "pullSecrets": array(shared("pullSecret"), [{"name": "pull"}]),
    "serviceAccount": closed({"create": BOOLEAN, "name": name_or_nothing("other"), "annotations": shared("strings")}),
    "service": closed(SERVICE),
    "autoscaling": closed(
        {
            "enabled": BOOLEAN,
            "minReplicas": integer(1, 3),
            "maxReplicas": integer(1, 12),
            "targetCPUUtilizationPercentage": integer(1, 60),
            "metrics": kubernetes_list([{"type": "External"}]),
            "behavior": kubernetes({"scaleDown": {"stabilizationWindowSeconds": 60}}),
        }
    ),
    "podDisruptionBudget": closed(
        {
            "enabled": BOOLEAN,
            "maxUnavailable": {**PODS, "pattern": "^[0-9]{1,3}%$", "examples": ["40%"]},
            "minAvailable": {**PODS, "pattern": "^([0-9]{1,3}%)?$", "examples": ["60%"]},
            "unhealthyPodEvictionPolicy": one_of("AlwaysAllow", "IfHealthyBudget"),
        }
    ),
    "podNames": array(NAMED, ["other"], minItems=1),
    "duration": string("^([0-9]+(ms|s|m|h))+$", "20s"),
    "monitor": closed(
        {
            "enabled": BOOLEAN,
            "labels": shared("labels"),
            "interval": shared("duration"),
            "scrapeTimeout": shared("duration"),
        }
    ),
    "prometheusRule": closed(
        {
            "enabled": BOOLEAN,
            "labels": shared("labels"),
            "runbookUrl": string(r"^\S*[^\s/]$", "https://git.example.com/video/docs/runbooks"),
            "interval": string("^([0-9]+(ms|s|m|h))*$", "20s"),
            "disabled": mapping(BOOLEAN, None, {"TargetDown": True}),
            "thresholds": mapping(
                {"anyOf": [NUMBER, closed({"critical": NUMBER, "warning": NUMBER}, [])]},
                None,
                {"TlsCertificateExpires": 14},
            ),
        }
    ),
    "dashboards": closed(
        {
            "enabled": BOOLEAN,
            "labels": shared("labels"),
            "annotations": shared("strings"),
            "namespace": string(r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$", "grafana"),
        }
    ),
    "log": closed(
        {
            "level": one_of("DEBUG", "INFO", "WARNING", "ERROR"),
            "format": one_of("json", "text"),
            "accessSample": {"type": "number", "minimum": 0, "maximum": 1, "examples": [0.1]},
        }
    ),
    # Each chart has those that it reads, and accepts the others, which reach it all the same: the other charts', and
    # those of a parent chart or of what installs it, such as Rancher.
    "global": opened(
        {
            "imageRegistry": string(f"^({REPOSITORY})?$", "registry.example.com/mirror"),
            "imagePullSecrets": array(
                {"anyOf": [shared("pullSecret"), string(PULL_SECRET)]}, [{"name": "pull"}], ["pull"]
            ),
            **FAMILIES,
            **COMMON,
            "registry": closed(
                {
                    "address": string(
                        rf"^({HOST_PORT}(,{HOST_PORT})*|https://{HOST_PORT}(,https://{HOST_PORT})*)?$",
                        "a.example.com:2379,b.example.com:2380",
                    ),
                    "prefix": string("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", "services"),
                    "service": string("^[A-Za-z0-9._-]+$", "user-python"),
                    "tls": closed({"existingSecret": name_or_nothing("etcd-ca"), "clientCertificate": BOOLEAN}, []),
                    "auth": closed(
                        {
                            "enabled": BOOLEAN,
                            "existingSecret": name_or_nothing("etcd-passwords"),
                            "registrar": string("^[A-Za-z0-9._-]+$", "writer"),
                            "resolver": string("^[A-Za-z0-9._-]+$", "reader"),
                        },
                        [],
                    ),
                },
                [],
            ),
            "database": closed(
                {
                    "host": string(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*)$", "db.example.com"),
                    "port": integer(1, 3307, 65535),
                    "name": string("^[A-Za-z0-9_]{1,64}$", "users"),
                    "username": string("^[A-Za-z0-9_]{1,32}$", "someone"),
                    "existingSecret": name_or_nothing("database-password"),
                    "parameters": mapping(TEXT, "^[A-Za-z_]+$", {"tls": "true"}),
                },
                [],
            ),
            "tls": closed(
                {
                    "enabled": BOOLEAN,
                    "caSecret": name_or_nothing("platform-ca"),
                    "certManager": closed(
                        {
                            "issuerRef": {
                                **closed({"name": NAMED, "kind": NAMED, "group": NAMED}, []),
                                "dependentRequired": {"kind": ["name"], "group": ["name"]},
                                "examples": [{"name": "platform", "kind": "ClusterIssuer"}],
                            },
                            "duration": shared("duration"),
                            "renewBefore": shared("duration"),
                        },
                        [],
                    ),
                },
                [],
            ),
        },
    ),
}

RESOURCES = kubernetes({"limits": {"memory": "300Mi"}})
PROBE = kubernetes({"periodSeconds": 7})
PEERS = kubernetes_list([{"ipBlock": {"cidr": "192.0.2.0/24"}}])
RULES = kubernetes_list([{"ports": [{"port": 81}]}])
EXTRA_OBJECTS = array(
    {"type": ["object", "string"]},
    [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}}],
)

POD: dict[str, Schema] = {
    "image": shared("image"),
    "imagePullSecrets": shared("pullSecrets"),
    "extraEnv": kubernetes_list([{"name": "EXTRA", "value": "1"}]),
    "extraEnvFrom": kubernetes_list([{"configMapRef": {"name": "extra"}}]),
    "extraVolumes": kubernetes_list([{"name": "extra", "emptyDir": {}}]),
    "extraVolumeMounts": kubernetes_list([{"name": "tmp", "mountPath": "/extra"}]),
    "resources": RESOURCES,
    "startupProbe": PROBE,
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    **COMMON,
    "podSpec": kubernetes({"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["db.example.com"]}]}),
    "podLabels": shared("labels"),
    "podAnnotations": shared("strings"),
    "podSecurityContext": kubernetes({"runAsUser": 12345}),
    "securityContext": kubernetes({"capabilities": {"drop": ["NET_RAW"]}}),
    "priorityClassName": name_or_nothing("system-cluster-critical"),
    "nodeSelector": shared("labels"),
    "tolerations": kubernetes_list([{"key": "dedicated", "operator": "Exists"}]),
    "affinity": kubernetes({"podAntiAffinity": {}}),
    "serviceAccount": shared("serviceAccount"),
    "extraObjects": EXTRA_OBJECTS,
}
SPREAD = {
    "topologySpreadConstraints": kubernetes_list(
        [{"maxSkew": 2, "topologyKey": "example.com/rack", "whenUnsatisfiable": "DoNotSchedule"}]
    )
}
STATELESS: dict[str, Schema] = {
    **POD,
    **SPREAD,
    "replicaCount": {**integer(0, 3), "type": ["integer", "null"]},
    "deploymentSpec": kubernetes({"minReadySeconds": 5}),
    "revisionHistoryLimit": integer(0, 2),
    "fullnameOverride": string("^([a-z]([-a-z0-9]{0,50}[a-z0-9])?)?$", "other"),
    "drainDelaySeconds": integer(0, 3, 600),
    "graceSeconds": integer(0, 30, 600),
    "terminationGracePeriodSeconds": {"type": ["integer", "null"], "minimum": 1, "examples": [90]},
    "log": shared("log"),
    "autoscaling": shared("autoscaling"),
    "podDisruptionBudget": shared("podDisruptionBudget"),
    "metrics": closed(
        {
            "annotations": BOOLEAN,
            "podMonitor": shared("monitor"),
            "serviceMonitor": shared("monitor"),
            "prometheusRule": shared("prometheusRule"),
            "dashboards": shared("dashboards"),
        }
    ),
}
STATEFUL: dict[str, Schema] = {
    **POD,
    "extraArgs": array(string("^--"), ["--example=1"]),
    "statefulSetSpec": kubernetes({"minReadySeconds": 5}),
    "terminationGracePeriodSeconds": integer(1, 45),
    "service": shared("service"),
    "persistentVolumeClaimRetentionPolicy": kubernetes({"whenDeleted": "Delete"}),
}
CLAIM: dict[str, Schema] = {
    "size": shared("quantity"),
    "storageClass": string(r"^(-|[a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", "fast"),
    "annotations": shared("strings"),
}
CERTIFICATE = {"existingSecret": name_or_nothing("certificate")}
ANOTHER_CLAIM = {"existingClaim": name_or_nothing("claim")}
CLIENTS = {"clients": shared("podNames")}
SCRAPERS = {"metricsFrom": PEERS}
PASSWORD = string(r"^[^'\"\\\n]*$", "a given password", maxLength=128)


def network_policy(peers: dict[str, Schema]) -> Schema:
    rules = {"extraIngress": RULES, "extraEgress": RULES}
    return closed({"enabled": BOOLEAN, **peers, **rules})


def subchart(**values: Schema) -> Schema:
    """The values of a subchart, which its own schema checks, down to what is read here."""
    properties = {"enabled": BOOLEAN, **values}
    return {"type": "object", "required": list(properties), "properties": properties}


NOT_HERE: Schema = {"type": "object", "required": ["enabled"], "properties": {"enabled": {"const": False}}}
"""Of the charts below the services in the umbrella, which has one etcd and one MySQL for all."""

VALUES: dict[str, dict[str, Schema]] = {
    "user-svc": {
        **STATELESS,
        "register": BOOLEAN,
        "registryTTLSeconds": integer(1, 5, 3600),
        "bcryptCost": integer(10, 12, 16),
        "databasePool": closed(
            {"size": integer(1, 5, 1000), "maxOverflow": integer(0, 20, 1000), "recycleSeconds": integer(0, 300)}
        ),
        "grpcReflection": BOOLEAN,
        "hashSlots": integer(0, 2, 256),
        "throttleMode": one_of("enforce", "observe", "off"),
        "passwordCheck": one_of("change", "off"),
        "tls": closed({**CERTIFICATE, "clientNames": shared("podNames")}),
        "service": shared("service"),
        "networkPolicy": network_policy({**CLIENTS, **SCRAPERS}),
        "etcd": subchart(),
        "mysql": subchart(),
    },
    "gateway-svc": {
        **STATELESS,
        "jwt": closed(
            {
                "existingSecret": name_or_nothing("jwt-keys"),
                "secret": string(None, "an example of a key that is long enough"),
                "previousSecrets": array(string("^[^,]+$"), ["an older key"]),
                "issuer": string(None, "https://video.example.com"),
                "audience": string(None, "https://video.example.com/api"),
            }
        ),
        "docs": BOOLEAN,
        "cors": closed({"origins": array(string("^[^,]+$"), ["https://app.example.org"])}),
        "throttle": closed(
            {
                "mode": one_of("enforce", "observe", "off", False),  # YAML reads a plain `off` as false
                "trustedProxies": array(string("^[0-9a-f.:/]+$|^none$"), ["10.244.0.0/16"]),
            }
        ),
        "userService": closed({"target": string(None, "dns:///user-svc:8888")}),
        "tls": closed({**CERTIFICATE, "serverName": string(r"^[A-Za-z0-9.-]+$", "users.example.com")}),
        "service": closed(
            {
                "type": one_of("ClusterIP", "NodePort", "LoadBalancer"),
                "port": integer(1, 80, 65535),
                "nodePort": integer(0, 30080, 65535),
                "externalTrafficPolicy": one_of("Cluster", "Local"),
                "loadBalancerClass": string(None, "example.com/internal"),
                "loadBalancerSourceRanges": array(NAMED, ["192.0.2.0/24"]),
                **SERVICE,
            }
        ),
        "ingress": closed(
            {
                "enabled": BOOLEAN,
                "className": name_or_nothing("nginx"),
                "annotations": shared("strings"),
                "hosts": array(NAMED, ["api.example.com"]),
                "path": string("^/", "/video"),
                "pathType": one_of("Prefix", "Exact", "ImplementationSpecific"),
                "tls": kubernetes_list([{"hosts": ["video.example.com"], "secretName": "video-tls"}]),
            }
        ),
        "httpRoute": closed(
            {
                "enabled": BOOLEAN,
                "annotations": shared("strings"),
                "parentRefs": kubernetes_list([{"name": "other", "namespace": "infrastructure"}], minItems=1),
                "hostnames": array(NAMED, ["api.example.com"]),
                "path": string("^/", "/video"),
            }
        ),
        "networkPolicy": network_policy({"clientsFrom": PEERS, **SCRAPERS}),
        "etcd": subchart(),
    },
    "etcd": {
        **STATEFUL,
        **SPREAD,
        "replicaCount": one_of(1, 3),
        "tls": closed(CERTIFICATE),
        "auth": closed({"image": shared("imageOrNone"), "intervalSeconds": integer(1, 7, 600), "resources": RESOURCES}),
        "initialClusterState": one_of("new", "existing"),
        "quotaBackendBytes": integer(16 * 2**20, 4 * 2**30),
        "autoCompaction": closed(
            {"mode": one_of("periodic", "revision"), "retention": string(r"^[0-9]+(\.[0-9]+)?(s|m|h)?$", "30m")}
        ),
        "logLevel": one_of("debug", "info", "warn", "error", "panic", "fatal"),
        "persistence": closed({"enabled": BOOLEAN, **CLAIM}),
        "podDisruptionBudget": shared("podDisruptionBudget"),
        "networkPolicy": network_policy({**CLIENTS, **SCRAPERS}),
        "metrics": closed({"annotations": BOOLEAN, "podMonitor": shared("monitor")}),
    },
    "mysql": {
        **STATEFUL,
        "auth": closed({"password": PASSWORD, "rootPassword": PASSWORD}),
        "tls": closed({**CERTIFICATE, "intervalSeconds": integer(1, 7, 600), "resources": RESOURCES}),
        "configuration": string(None, "[mysqld]\nmax_connections = 50\n"),
        "persistence": closed({"enabled": BOOLEAN, **CLAIM, **ANOTHER_CLAIM}),
        "backup": closed(
            {
                "enabled": BOOLEAN,
                "schedule": string(r"^(@[a-z]+|\S+( \S+){4})$", "0 * * * *"),
                "keepDays": integer(1, 30),
                "deadlineSeconds": integer(1, 600),
                "persistence": closed({**CLAIM, **ANOTHER_CLAIM}),
                "resources": RESOURCES,
            }
        ),
        "networkPolicy": network_policy(CLIENTS),
    },
    "video-platform": {
        "gateway-svc": subchart(etcd=NOT_HERE),
        "user-svc": subchart(etcd=NOT_HERE, mysql=NOT_HERE),
        "etcd": subchart(),
        "mysql": subchart(),
        "extraObjects": EXTRA_OBJECTS,
    },
}


def schema(chart: str) -> Schema:
    """The schema of a chart's values, its properties in the order of values.yaml.

    Raises:
        KeyError: when values.yaml has a value that is not described here.
    """
    described = {**VALUES[chart], "global": shared("global")}
    order = list(yaml.safe_load((CHARTS / chart / "values.yaml").read_text()))
    if undocumented := described.keys() - set(order):
        raise KeyError(f"{chart}/values.yaml lacks {', '.join(sorted(undocumented))}")
    # Helm itself adds these: what a parent chart's condition reads, and the globals of the library chart.
    added = {"enabled": BOOLEAN, "lib": closed({"global": mapping()}, [])}
    properties = {**{name: described[name] for name in order}, **added}
    required = [name for name in order if "null" not in described[name].get("type", ())]
    definitions = {name: DEFINITIONS[name] for name in sorted(_used(properties, set()))}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Values of the chart {chart}",
        **closed(properties, required),
        "$defs": definitions,
    }


def _used(node: Any, found: set[str]) -> set[str]:
    if isinstance(node, dict):
        name = str(node.get("$ref", "")).removeprefix("#/$defs/")
        if name and name not in found:
            found.add(name)
            _used(DEFINITIONS[name], found)
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            _used(part, found)
    return found


def text(chart: str) -> str:
    """What the chart's values.schema.json holds."""
    return json.dumps(schema(chart), indent=2) + "\n"


if __name__ == "__main__":
    for chart in VALUES:
        (CHARTS / chart / "values.schema.json").write_text(text(chart))
