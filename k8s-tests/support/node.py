"""What can only be done from the node: a container killed as the kernel would do it."""

from support.client_pod import image
from support.cluster import Manifest
from support.namespace import Namespace

_KILL = """
import os, pathlib, signal, sys
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        ours = sys.argv[1] in (folder / "cgroup").read_text()
    except OSError:
        continue
    if ours and status["NSpid"].split()[-1] == "1":
        os.kill(int(folder.name), signal.SIGKILL)
        break
else:
    sys.exit("no first process of this container on this node")
"""


class Node:
    """A privileged pod that sees the node's processes, in a namespace that lets it."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        namespace.create(_manifest())
        namespace.wait_for_pod("node", 60, what="the pod on the node")

    def kill(self, pod: Manifest, container: int = 0) -> None:
        """Kill a container's first process, and with it the container, with SIGKILL."""
        identity = pod["status"]["containerStatuses"][container]["containerID"].rpartition("/")[2]
        self._namespace.execute("node", "python", "-c", _KILL, identity)


def _manifest() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "node"},
        "spec": {
            "hostPID": True,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "node",
                    "image": image("gateway-svc"),
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", "import signal; signal.pause()"],
                    "securityContext": {"privileged": True, "runAsUser": 0},
                }
            ],
        },
    }
