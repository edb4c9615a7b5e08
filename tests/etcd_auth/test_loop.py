"""The loop beside a real etcd: as it is first met, wiped, meddled with, with a lost password."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Mount
from tests.support.etcd import Etcd
from tests.support.process import Process
from tests.support.wait import wait_until

PREFIX = "kitex/registry-etcd"
ROOT = "canary-of-root"
PASSWORDS = {"registrar": "canary-of-the-registrar", "resolver": "canary-of-the-resolver"}


class Loop(Process):
    """One `python -m etcd_auth`."""

    def __init__(self, etcd: Etcd, folder: Path, **env: str) -> None:
        self.on = folder / "auth-is-on"
        (folder / "root").write_text(ROOT)
        given = {
            "ETCD_ADDRESS": etcd.endpoint,
            "ROOT_PASSWORD_FILE": str(folder / "root"),
            "REGISTRAR_PASSWORD": PASSWORDS["registrar"],
            "RESOLVER_PASSWORD": PASSWORDS["resolver"],
            "AUTH_ON_FILE": str(self.on),
            "INTERVAL": "0.2",
        }
        super().__init__("etcd_auth", env={**given, **env}, cwd=folder)

    def stop(self) -> int:
        self.terminate()
        return self.wait()


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    with Etcd("--bcrypt-cost=4") as running:
        yield running


@pytest.fixture
def loop(etcd: Etcd, tmp_path: Path) -> Iterator[Loop]:
    with Loop(etcd, tmp_path) as running:
        yield running
    for secret in (ROOT, *PASSWORDS.values()):
        assert secret not in running.output


def as_user(etcd: Etcd, name: str, *arguments: str) -> str:
    """What etcdctl says, its refusals included."""
    password = {**PASSWORDS, "root": ROOT}[name]
    try:
        return etcd.ctl(f"--user={name}:{password}", *arguments)
    except AssertionError as refusal:
        return str(refusal)


def holds(etcd: Etcd) -> bool:
    """Whether each can do its work, under the prefix alone, and no one else."""
    mine, others = f"{PREFIX}/user/10.0.0.1:8888", f"{PREFIX}-other/user"
    return (
        "OK" in as_user(etcd, "registrar", "put", mine, "x")
        and mine in as_user(etcd, "resolver", "get", "--prefix", f"{PREFIX}/user/")
        and all(
            "permission denied" in refusal
            for refusal in (
                as_user(etcd, "resolver", "put", mine, "y"),
                as_user(etcd, "registrar", "put", others, "x"),
                as_user(etcd, "resolver", "get", others),
                as_user(etcd, "registrar", "user", "list"),
            )
        )
    )


def refuses_strangers(etcd: Etcd) -> bool:
    try:
        etcd.ctl("get", "anything")
    except AssertionError as refusal:
        return "user name is empty" in str(refusal)
    return False


def test_accounts_are_made_and_authentication_is_turned_on(etcd: Etcd, loop: Loop) -> None:
    wait_until(loop.on.exists, 15)
    assert refuses_strangers(etcd)
    assert holds(etcd)


def test_it_goes_on_after_a_wipe(etcd: Etcd, loop: Loop) -> None:
    wait_until(loop.on.exists, 15)
    etcd.kill()
    wait_until(lambda: not loop.on.exists(), 15)
    etcd.wipe()
    etcd.start()
    wait_until(loop.on.exists, 15)
    assert refuses_strangers(etcd)
    assert holds(etcd)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("user", "revoke-role", "registrar", "registrar"), "user registrar was given the role registrar"),
        (("user", "delete", "resolver"), "user resolver was made"),
        (("user", "passwd", "--interactive=false", "resolver"), "user resolver was given its password"),
        (("user", "grant-role", "resolver", "root"), "user resolver lost the role root, which is not its own"),
        (("role", "delete", "registrar"), "role registrar was made"),
        (
            ("role", "revoke-permission", "--prefix", "registrar", f"{PREFIX}/"),
            "role registrar may write under the prefix",
        ),
        (
            ("role", "grant-permission", "--prefix", "resolver", "readwrite", f"{PREFIX}/"),
            "role resolver lost a permission that is not its own",
        ),
        (
            ("role", "grant-permission", "--prefix", "resolver", "readwrite", "elsewhere/"),
            "role resolver lost a permission that is not its own",
        ),
        (("auth", "disable"), "authentication was turned on"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_manual_changes_are_corrected_and_logged(etcd: Etcd, loop: Loop, change: tuple[str, ...], said: str) -> None:
    wait_until(loop.on.exists, 15)
    wait_until(lambda: "authentication is on" in loop.output, 15)
    before = len(loop.output)
    etcd.ctl(f"--user=root:{ROOT}", *change, stdin="another-password\n")
    line = wait_until(lambda: [line for line in loop.output[before:].splitlines() if said in line], 15)[0]
    assert "WARNING" in line
    wait_until(lambda: holds(etcd), 15)
    assert refuses_strangers(etcd)
    assert "elsewhere" not in as_user(etcd, "root", "role", "get", "resolver")
    assert "root" not in as_user(etcd, "root", "user", "get", "resolver")


def test_changes_are_warned_of_after_a_refusal(etcd: Etcd, loop: Loop) -> None:
    wait_until(lambda: "authentication is on" in loop.output, 15)
    etcd.ctl(f"--user=root:{ROOT}", "user", "passwd", "--interactive=false", "root", stdin="another-password\n")
    wait_until(lambda: "another root password" in loop.output, 15)
    etcd.ctl("--user=root:another-password", "role", "delete", "registrar")
    etcd.ctl("--user=root:another-password", "user", "passwd", "--interactive=false", "root", stdin=f"{ROOT}\n")
    lines = wait_until(lambda: [each for each in loop.output.splitlines() if "role registrar was made" in each][1:], 15)
    assert "WARNING" in lines[0]


def test_accounts_that_exist_are_taken_over(etcd: Etcd, tmp_path: Path) -> None:
    for name in ("root", "registrar"):
        etcd.ctl("user", "add", f"{name}:another-password")
    etcd.ctl("role", "add", "registrar")
    with Loop(etcd, tmp_path) as loop:
        wait_until(loop.on.exists, 15)
        assert holds(etcd)
        assert loop.stop() == 0
    assert not loop.on.exists(), "authentication is not known to be on"


def test_lost_root_password_is_reported(etcd: Etcd, loop: Loop, tmp_path: Path) -> None:
    wait_until(loop.on.exists, 15)
    (tmp_path / "second").mkdir()
    with Loop(etcd, tmp_path / "second", ROOT_PASSWORD_FILE="", ROOT_PASSWORD="canary-that-is-wrong") as second:
        wait_until(lambda: "another root password than ROOT_PASSWORD" in second.output, 15)
        wait_until(second.on.exists, 15, what="authentication is on all the same")
        assert holds(etcd)
        assert second.stop() == 0
    assert "canary" not in second.output


def test_several_loops_are_no_trouble(etcd: Etcd, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        loops = []
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            loops.append(stack.enter_context(Loop(etcd, folder)))
        for loop in loops:
            wait_until(loop.on.exists, 20)
        assert holds(etcd)


def test_etcd_auth_works_over_tls_after_renewal(tmp_path: Path) -> None:
    authority = Authority()
    files = Mount(tmp_path / "files", authority.issue("127.0.0.1"))
    password = tmp_path / "registrar"
    password.write_text(PASSWORDS["registrar"])
    env = {
        **files.env("ETCD"),
        "REGISTRAR_PASSWORD": "",
        "REGISTRAR_PASSWORD_FILE": str(password),
        "FILE_POLL_INTERVAL": "0.2",
    }
    with Etcd("--bcrypt-cost=4", tls=files) as etcd, Loop(etcd, tmp_path, ETCD_ADDRESS=etcd.address, **env) as loop:
        wait_until(loop.on.exists, 15)
        assert holds(etcd)
        password.write_text("another-canary")
        given = ("--user=registrar:another-canary", "get", "--prefix", f"{PREFIX}/")

        def is_taken() -> bool:
            try:
                etcd.ctl(*given)
            except AssertionError:
                return False
            return True

        wait_until(is_taken, 15, what="etcd to have the renewed password")
        etcd.kill()
        files.renew(Authority("another").issue("127.0.0.1"))
        etcd.start()
        wait_until(loop.on.exists, 15)
    assert "another-canary" not in loop.output


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"ETCD_ADDRESS": ""}, "ETCD_ADDRESS is not set"),
        ({"ETCD_ADDRESS": "a:1,b:2"}, "ETCD_ADDRESS: must be the host:port of one member"),
        ({"RESOLVER_USERNAME": "registrar"}, "RESOLVER_USERNAME: root, the registrar and the resolver must have"),
    ],
)
def test_a_wrong_setting_ends_it(env: dict[str, str], sentence: str, tmp_path: Path) -> None:
    given = {"ETCD_ADDRESS": "127.0.0.1:1", "ROOT_PASSWORD": "a", "REGISTRAR_PASSWORD": "b", "RESOLVER_PASSWORD": "c"}
    with Process("etcd_auth", env={**given, **env}, cwd=tmp_path) as process:
        assert process.wait() == 2
    assert sentence in process.output
