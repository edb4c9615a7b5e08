"""The platform, installed once for all tests that leave it whole."""

import base64
import json
import secrets
from typing import Any

from support.client_pod import ClientPod, Traffic
from support.cluster import Manifest, wait_until
from support.namespace import Namespace
from support.release import Release

VALUES: dict[str, Any] = {"user-svc": {"bcryptCost": 10}}
"""What differs from the defaults of the charts: hashing would take the cores that several pods share here."""

SMALL: dict[str, Any] = {
    "user-svc": {"bcryptCost": 10, "replicaCount": 1, "resources": {"requests": {"cpu": "200m"}}},
    "gateway-svc": {"replicaCount": 1, "resources": {"requests": {"cpu": "20m"}}},
    "etcd": {"resources": {"requests": {"cpu": "20m"}}},
    "mysql": {"resources": {"requests": {"cpu": "20m"}}},
}
"""For a second release beside the first on a node of 2 cores, of which no other load takes the time to hash."""

PASSWORD = "a password of tests"

JSON = {"Content-Type": "application/json"}


class Platform:
    """A release of the umbrella chart in a namespace of its own, and a client_pod inside."""

    def __init__(self, namespace: Namespace, values: dict[str, Any]) -> None:
        self.namespace = namespace
        self.values = values
        self.release = Release(namespace)
        self.replicas = {name: int(values.get(name, {}).get("replicaCount", 2)) for name in ("user-svc", "gateway-svc")}
        self.replicas |= {"etcd": int(values.get("etcd", {}).get("replicaCount", 1)), "mysql": 1}
        self.client_pod = ClientPod(namespace)
        self.gateway = "http://vp-gateway-svc:8080"

    def install(self, *arguments: str) -> str:
        """Install it and wait until everything is ready."""
        notes = self.release.install(self.values, *arguments)
        self.client_pod.wait()
        return notes

    def restore(self) -> None:
        """Put back what a test that failed may have scaled away, and wait until it is whole."""
        for name, count in self.replicas.items():
            kind = "Deployment" if name.endswith("-svc") else "StatefulSet"
            found = self.namespace.get(kind, f"vp-{name}")
            if found and found["spec"]["replicas"] != count:
                self.namespace.scale(kind, f"vp-{name}", count)
        self.wait_until_whole()

    def wait_until_whole(self, timeout: float = 120) -> None:
        """Wait until every pod that there should be is ready, and no other is left."""
        for name, count in self.replicas.items():
            self.namespace.wait_for_pods(name, count, timeout)

    def post(self, path: str, body: Manifest) -> Manifest:
        """Send a body to the gateway's Service and return the answer."""
        request = {"method": "POST", "url": self.gateway + path, "body": json.dumps(body), "headers": JSON}
        return self.client_pod.ask(request)[0]

    def register(self) -> str:
        """Register a new user and return the name."""
        name = f"u_{secrets.token_hex(5)}"
        answer = self.post("/api/register", {"username": name, "password": PASSWORD})
        assert answer["status"] == 200, answer
        return name

    def login(self, name: str) -> str:
        """Log a user in and return the token."""
        answer = self.post("/api/login", {"username": name, "password": PASSWORD})
        assert answer["status"] == 200, answer
        token: str = json.loads(answer["body"])["token"]
        return token

    def profile(self, token: str) -> Manifest:
        """Read the profile that a token opens."""
        return self.profiles(token, 1)[0]

    def profiles(self, token: str, times: int) -> list[Manifest]:
        """Read it several times, on a connection each."""
        headers = {"Authorization": f"Bearer {token}"}
        return self.client_pod.ask(
            *[{"method": "GET", "url": f"{self.gateway}/api/profile", "headers": headers}] * times
        )

    def secret_values(self, name: str) -> dict[str, str]:
        """Return what a Secret holds."""
        return {key: _decode(value) for key, value in self.namespace.secret(name).items()}

    def secrets(self) -> list[str]:
        """Return every value that the release keeps in Secrets."""
        found = []
        for secret in self.namespace.list_all("Secret", "app.kubernetes.io/instance=vp"):
            found += [_decode(value) for value in secret["data"].values()]
        return found

    def traffic(self, **rates: float) -> Traffic:
        """Return steady traffic: requests a second, by operation."""
        return Traffic(self.client_pod, self.gateway, rates)

    def metrics(self, pod: str) -> str:
        """Return what a service's pod says of itself on its admin port."""
        program = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9090/metrics').read().decode())"
        return self.namespace.execute(pod, "python", "-c", program)

    def etcdctl(self, *arguments: str, member: str = "vp-etcd-0") -> str:
        """Run etcdctl in a member."""
        return self.namespace.execute(member, "etcdctl", "--command-timeout=5s", *arguments)

    def stop_etcd(self) -> None:
        """Take all members away, and wait until they are gone."""
        self.namespace.scale("StatefulSet", "vp-etcd", 0)
        self.namespace.wait_for_pods("etcd", 0)

    def start_etcd(self) -> None:
        """Bring the members back."""
        self.namespace.scale("StatefulSet", "vp-etcd", self.replicas["etcd"])

    def keys(self) -> dict[str, Manifest]:
        """Return what etcd holds of the user service's instances, by address."""
        found = json.loads(self.etcdctl("get", "--prefix", "kitex/registry-etcd/user/", "--write-out=json"))
        result = {}
        for entry in found.get("kvs", []):
            key = _decode(entry["key"])
            result[key.rpartition("/")[2]] = {"key": key, "lease": f"{entry.get('lease', 0):x}"}
        return result

    def wait_for_keys(self, count: int, timeout: float) -> None:
        """Wait until so many instances are registered."""
        wait_until(lambda: len(self.keys()) == count, timeout, what=f"{count} registered instances")


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()
