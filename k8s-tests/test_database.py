"""MySQL away, and back."""

import time
from collections.abc import Callable, Iterator

import pytest
from conftest import Record
from support.client_pod import image
from support.cluster import Manifest, condition, wait_until
from support.namespace import Namespace
from support.node import Node
from support.platform import PASSWORD, Platform
from support.release import Release

UNAVAILABLE = '{"code":503,"msg":"服务暂时不可用，请稍后重试"}'


def try_login(platform: Platform, user: str) -> Manifest:
    """Log in and return the answer, whatever it is."""
    return platform.post("/api/login", {"username": user, "password": PASSWORD})


def test_pod_deleted(platform: Platform, figures: Record) -> None:
    user = platform.register()
    token = platform.login(user)
    services = {pod["metadata"]["name"] for pod in platform.namespace.live("user-svc")}
    restarts = platform.namespace.restarts()
    platform.namespace.delete("Pod", "vp-mysql-0")
    wait_until(lambda: try_login(platform, user)["body"] == UNAVAILABLE, 60, what="the answer without a database")
    began = time.monotonic()
    assert try_login(platform, user)["status"] == 503
    assert platform.profile(token)["status"] == 200, "a token needs no database"
    wait_until(lambda: try_login(platform, user)["status"] == 200, 120, what="a login after MySQL came back")
    figures("MySQL pod deleted: seconds of 503", time.monotonic() - began)
    platform.wait_until_whole()
    now = platform.namespace.restarts()
    assert {name: now[name] for name in services} == {name: restarts[name] for name in services}


def test_pods_that_start_while_it_is_away(platform: Platform, figures: Record) -> None:
    user = platform.register()
    old = [pod["metadata"]["name"] for pod in platform.namespace.live("user-svc")]
    platform.namespace.scale("StatefulSet", "vp-mysql", 0)
    platform.namespace.wait_for_pods("mysql", 0)
    platform.namespace.delete("Pod", old[0])
    new = platform.namespace.wait_for_waiting_pod("user-svc", old, "DB_DSN: the database cannot be used")
    platform.namespace.scale("StatefulSet", "vp-mysql", 1)
    began = time.monotonic()
    platform.wait_until_whole()
    figures("MySQL back: seconds from its start to all Ready", time.monotonic() - began)
    assert platform.namespace.restarts()[new] == 0
    assert try_login(platform, user)["status"] == 200
    causes = [line["cause"] for line in platform.namespace.events_of(new) if "DB_DSN" in line["message"]]
    assert len(causes) == len(set(causes)), "a line for each change of cause, not for each attempt"


@pytest.fixture
def alone(new_namespace: Callable[..., Namespace]) -> Iterator[Namespace]:
    """A namespace for MySQL alone."""
    namespace = new_namespace()
    yield namespace
    namespace.close()


def test_image_starts_without_the_chart(alone: Namespace) -> None:
    """Its folders are in it: the chart mounts some over them."""
    container = {
        "name": "mysql",
        "image": image("mysql"),
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "MYSQL_RANDOM_ROOT_PASSWORD", "value": "yes"}],
        "resources": {"requests": {"cpu": "20m"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": security, "restartPolicy": "Never"}
    alone.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": spec})

    def log() -> str:
        pod = alone.get("Pod", "bare")
        started = pod and pod["status"].get("containerStatuses", [{}])[0].get("state", {}).keys() & {
            "running",
            "terminated",
        }
        return alone.log("bare") if started else ""

    wait_until(lambda: "MySQL init process done. Ready for start up." in log(), 120, what="an initialised MySQL")
    wait_until(lambda: "port: 3306" in log(), 60, what="MySQL on its port")


def test_killed_in_its_first_initialisation(alone: Namespace, figures: Record, node: Node) -> None:
    """As a node's failure would, twice: while it makes its files, and while it makes its users."""
    Release(alone, chart="mysql").install({"resources": {"requests": {"cpu": "20m"}}}, "--wait=false")

    def log() -> str:
        return alone.log("vp-mysql-0")

    def running(restarts: int) -> Manifest | None:
        pod = alone.get("Pod", "vp-mysql-0")
        status = pod["status"].get("containerStatuses", []) if pod else []
        return pod if status and status[0]["restartCount"] == restarts and "running" in status[0]["state"] else None

    def kill_at(moment: str, restarts: int) -> None:
        pod = wait_until(lambda: running(restarts), 60, what=f"start number {restarts + 1}")
        wait_until(lambda: moment in log(), 90, what=moment)
        assert pod
        node.kill(pod)

    kill_at("Initializing database files", restarts=0)
    kill_at("Creating user", restarts=1)
    wait_until(lambda: running(2), 60, what="the third start")
    began = time.monotonic()
    alone.wait_for_pods("mysql", 1, 180)
    figures("MySQL killed twice as it began: seconds from the third start to Ready", time.monotonic() - began)
    assert "the first initialisation of /var/lib/mysql-volume/mysql was interrupted; it starts over" in log()
    # Ready means that the user could log in; what it may do must be there, too.
    sql = "CREATE TABLE probe (id INT); INSERT INTO probe VALUES (7); SELECT id FROM probe; DROP TABLE probe"
    assert query(alone, sql) == "7"


def query(namespace: Namespace, sql: str) -> str:
    """Run SQL as the service's user and return the answer."""
    script = (
        'mysql --defaults-file=<(printf "[client]\\npassword=%s\\n" "$(< $MYSQL_PASSWORD_FILE)") '
        f'--user=$MYSQL_USER --batch --skip-column-names $MYSQL_DATABASE --execute="{sql}"'
    )
    return namespace.execute("vp-mysql-0", "bash", "-c", script).strip()


def test_more_clients_get_more_connections_without_a_restart(platform: Platform) -> None:
    """Two pods, and one more in a rollout, each with its pool and the connection of its health check."""

    def granted() -> int:
        return int(query(platform.namespace, "SELECT @@max_connections"))

    (before,) = platform.namespace.live("mysql")
    assert granted() == 3 * (10 + 90 + 1) + 20
    pool = {"user-svc": {**platform.values["user-svc"], "databasePool": {"maxOverflow": 190}}}
    platform.release.upgrade({**platform.values, **pool})
    wait_until(lambda: granted() == 3 * (10 + 190 + 1) + 20, 180, what="the connections of a larger pool")
    (after,) = platform.namespace.live("mysql")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    platform.release.upgrade(platform.values)


def test_data_outlives_a_kill(platform: Platform, node: Node) -> None:
    user = platform.register()
    (pod,) = platform.namespace.live("mysql")
    node.kill(pod)

    def again() -> bool:
        restarted = platform.namespace.restarts()["vp-mysql-0"] > 0
        return restarted and condition(platform.namespace.live("mysql")[0], "Ready")

    wait_until(again, 120, what="MySQL after a kill")
    assert "starts over" not in platform.namespace.log("vp-mysql-0")
    wait_until(lambda: try_login(platform, user)["status"] == 200, 30, what="the user who registered before")


PROCESSES = r"""
until=$((SECONDS + 20))
while [[ $all != *"/etc/chart/ready.sh"* || $all != *" --defaults-file="* ]] && ((SECONDS < until)); do
  for file in /proc/[0-9]*/cmdline; do
    [[ $file != /proc/$$/* ]] || continue
    mapfile -d "" -t words < "$file" && [[ $all == *"${words[*]}"* ]] || all+="${words[*]}"$'\n'
  done 2> /dev/null
done
echo "$all"
"""


def test_password_is_in_no_argument(platform: Platform) -> None:
    """Neither of the server nor of a probe, which is waited for."""
    password = platform.secret_values("vp-mysql")["password"]
    seen = platform.namespace.execute("vp-mysql-0", "bash", "-c", PROCESSES)
    for process in ("mysqld", "/etc/chart/ready.sh", "mysql --defaults-file="):
        assert process in seen
    assert password not in seen
