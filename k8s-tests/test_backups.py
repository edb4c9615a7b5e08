"""Dumps of MySQL, and the way back, by the commands of docs/backups.md."""

import re
import time
from collections.abc import Callable

import pytest
from conftest import Record
from support.client_pod import image
from support.cluster import Manifest, wait_until
from support.namespace import CHARTS, Namespace
from support.platform import PASSWORD, SMALL, Platform

PAGE = (CHARTS.parent / "docs" / "backups.md").read_text()


@pytest.fixture(scope="module")
def saved(new_namespace: Callable[..., Namespace]) -> Platform:
    """A platform with backups, which the page has turned on."""
    platform = Platform(new_namespace(), SMALL)
    platform.install()
    perform(platform, "Backups of MySQL")
    return platform


def steps(title: str, page: str = PAGE) -> list[str]:
    """Return the blocks of commands below a title of the page."""
    (part,) = re.findall(rf"^#+ {title}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    return re.findall(r"```sh\n(.*?)```", part, re.DOTALL)


def perform(platform: Platform, title: str) -> str:
    """Run the commands below a title of the page, in one shell, and return what they print."""
    return platform.namespace.shell("".join(steps(title)))


def login(platform: Platform, user: str) -> int:
    """Return the status of a login's answer."""
    status: int = platform.post("/api/login", {"username": user, "password": PASSWORD})["status"]
    return status


def sql(platform: Platform, text: str) -> str:
    """Run SQL in the service's database, as its user, and return the answer."""
    script = (
        'mysql --defaults-file=<(printf "[client]\\npassword=%s\\n" "$(< $MYSQL_PASSWORD_FILE)") '
        f'--user=$MYSQL_USER --skip-column-names $MYSQL_DATABASE --execute="{text}"'
    )
    return platform.namespace.execute("vp-mysql-0", "bash", "-c", script)


def test_lost_users_come_back_as_the_page_says(saved: Platform) -> None:
    before = saved.register()
    listed = perform(saved, "Back up now")
    assert re.search(r"^chart: saved video_platform-\d{8}T\d{6}Z\.sql\.gz", listed, re.MULTILINE)
    assert "Error" not in listed
    after = saved.register()
    sql(saved, "DELETE FROM users")
    assert login(saved, before) == 401
    perform(saved, "Restore")
    saved.replicas["user-svc"] = 2
    saved.restore()
    # the gateway's calls go to the new pods once the policies let them through
    wait_until(lambda: login(saved, before) == 200, 30, what="a login after the restore")
    assert login(saved, after) == 401
    saved.register()
    of_restore = "batch.kubernetes.io/job-name=restore"
    wait_until(lambda: not saved.namespace.list_all("Pod", of_restore), 30, what="the end of the restore's pod")
    for pod in saved.namespace.list_all("Pod", "app.kubernetes.io/name=mysql-backup"):
        log = saved.namespace.log(pod["metadata"]["name"])
        assert not [secret for secret in saved.secrets() if secret in log]


def start_backup(platform: Platform, name: str) -> None:
    """Make a Job of the CronJob, as its schedule would."""
    found = platform.namespace.get("CronJob", "vp-mysql-backup")
    assert found
    job = found["spec"]["jobTemplate"]
    platform.namespace.create({"apiVersion": "batch/v1", "kind": "Job", **job, "metadata": {"name": name}})


def ended(platform: Platform, name: str) -> str:
    """Return how a Job ended, or nothing while it runs."""
    job = platform.namespace.get("Job", name)
    assert job
    conditions = job["status"].get("conditions", [])
    return next((c["type"] for c in conditions if c["type"] in {"Complete", "Failed"} and c["status"] == "True"), "")


def test_old_dumps_go_after_a_new_one_alone(saved: Platform) -> None:
    """A dump of eight days, and half a dump of two, which a kill has left."""
    old, half = "video_platform-20200101T000000Z.sql.gz", ".video_platform-20200101T000000Z.sql.gz.partial"
    with_backups(saved, f"touch -d '8 days ago' {old}; touch -d '2 days ago' {half}; touch unrelated")
    saved.namespace.scale("StatefulSet", "vp-mysql", 0)
    saved.namespace.wait_for_pods("mysql", 0)
    start_backup(saved, "in-vain")
    wait_until(lambda: ended(saved, "in-vain"), 240, what="the end of a backup without MySQL")
    assert ended(saved, "in-vain") == "Failed"

    def warned() -> bool:
        events = [event for event in saved.namespace.list_all("Event") if event["involvedObject"]["name"] == "in-vain"]
        return "BackoffLimitExceeded" in {event["reason"] for event in events if event["type"] == "Warning"}

    wait_until(warned, 30, what="a warning")
    assert "the backup failed" in reason(saved, "in-vain")
    assert old in with_backups(saved, "ls")

    saved.namespace.scale("StatefulSet", "vp-mysql", 1)
    saved.wait_until_whole()
    start_backup(saved, "again")
    wait_until(lambda: ended(saved, "again"), 120, what="the end of a backup")
    assert ended(saved, "again") == "Complete"
    left = with_backups(saved, "ls -A").split()
    assert "unrelated" in left
    assert not {old, half} & set(left)


def reason(platform: Platform, job: str) -> str:
    """Return what Kubernetes shows as the reason of a Job's last failed pod."""
    pods = platform.namespace.list_all("Pod", f"batch.kubernetes.io/job-name={job}")
    text: str = pods[-1]["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
    return text


def with_backups(platform: Platform, script: str) -> str:
    """Run a shell in the folder of the dumps and return what it prints."""
    name = "look"
    found = platform.namespace.get("CronJob", "vp-mysql-backup")
    assert found
    spec = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    container = {
        **spec["containers"][0],
        "image": image("mysql"),
        "command": ["bash", "-ceu", f"cd /backups; {script}"],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**spec, "containers": [container]}}
    platform.namespace.create(pod)

    def phase() -> str:
        seen: Manifest = platform.namespace.get("Pod", name) or {}
        text: str = seen.get("status", {}).get("phase", "")
        return text if text in {"Succeeded", "Failed"} else ""

    assert wait_until(phase, 60, what="a look at the dumps") == "Succeeded"
    text = platform.namespace.log(name)
    platform.namespace.delete("Pod", name, now=True)
    wait_until(lambda: platform.namespace.get("Pod", name) is None, 30, what="the end of the look")
    return text


@pytest.mark.faults
def test_upgraded_server_keeps_users_and_goes_back(saved: Platform, figures: Record) -> None:
    """By the lines of docs/mysql.md, with a server that upgrades the data of its own version."""
    page = (CHARTS.parent / "docs" / "mysql.md").read_text()
    upgrade, back = steps("Upgrade MySQL", page)
    forced = upgrade.replace("--reuse-values", "--reuse-values --set 'mysql.extraArgs={--upgrade=FORCE}'")
    early = saved.register()
    users, restarts = int(sql(saved, "SELECT COUNT(*) FROM users")), services(saved)
    with saved.traffic(register=2.0, login=4.0, profile=4.0) as traffic:
        said = saved.namespace.shell(forced)
        traffic.wait_for(30)
    lost = traffic.lost()
    figures("MySQL upgraded", traffic.summary)
    figures("MySQL upgraded: seconds of 503", lost[-1]["at"] - lost[0]["at"])
    assert re.search(r"Server upgrade from .* started.*Server upgrade from .* completed", said, re.DOTALL)
    assert {(request["operation"], request["status"]) for request in lost} == {("register", 503), ("login", 503)}
    registered = len(traffic.of("register")) - len(traffic.lost("register"))
    assert int(sql(saved, "SELECT COUNT(*) FROM users")) - users >= registered
    assert services(saved) == restarts

    late = saved.register()
    (restore,) = steps("Restore")
    began = time.monotonic()
    saved.namespace.shell(back + restore.replace("backup-now", "before-upgrade"))
    figures("MySQL back with a dump: seconds", time.monotonic() - began)
    saved.replicas["user-svc"] = 2
    saved.restore()
    wait_until(lambda: login(saved, early) == 200, 30, what="a login after the restore")
    assert login(saved, late) == 401
    saved.register()


def services(platform: Platform) -> dict[str, int]:
    """Return how often each pod of the services was restarted."""
    restarts = platform.namespace.restarts()
    return {name: count for name, count in restarts.items() if "-svc-" in name}
