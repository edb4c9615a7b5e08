"""What a registrar does apart from getting over faults: how it begins, ends, and meets others."""

import itertools
import logging
import threading
import time

import pytest

from service_kit.registry import EtcdConfig, Instance, Registrar, key
from service_kit.registry.etcd import Client, Entry
from service_kit.registry.instance import DEFAULT_PREFIX
from tests.service_kit.registry.conftest import Register
from tests.service_kit.registry.harness import RECOVERY, RegistrarHarness
from tests.support.etcd import NOWHERE, Etcd
from tests.support.etcd_proxy import EtcdProxy
from tests.support.wait import stays, wait_until

INSTANCE = Instance("10.0.0.1:8888")
KEY = key(DEFAULT_PREFIX, "user", INSTANCE.address)


def ends_within(registrar: Registrar, timeout: float) -> None:
    """Call stop() and see that it returns; it gets a second more, for a busy machine."""
    stopping = threading.Thread(target=registrar.stop, args=(timeout,))
    stopping.start()
    stopping.join(timeout + 1)
    assert not stopping.is_alive()
    assert not registrar.held


@pytest.mark.parametrize("address", ["10.0.0.1:8888", "[fd00::1]:8888"])
def test_key_is_written_under_a_lease(register: Register, own_etcd: Etcd, address: str) -> None:
    instance = Instance(address, weight=3, tags={"zone": "a"})
    registrar = register(own_etcd.endpoint, instance, ttl=77)
    wait_until(lambda: registrar.held)
    (found,) = own_etcd.keys().values()
    assert own_etcd.keys() == {f"kitex/registry-etcd/user/{address}": found}
    assert found.value == instance.encode()
    assert own_etcd.leases() == {found.lease}
    assert "granted with TTL(77s)" in own_etcd.ctl("lease", "timetolive", f"{found.lease:x}")
    registrar.stop()


def test_ids_of_leases_are_random(own_etcd: Etcd) -> None:
    with RegistrarHarness(own_etcd, ttl=60) as harness:
        seen = {harness.found.lease}
        for _ in range(3):
            own_etcd.revoke(harness.found.lease)
            harness.back()
            seen.add(harness.found.lease)
        assert len(seen) == 4
        assert max(seen) > 2**48


def test_starting_while_etcd_is_away(register: Register) -> None:
    etcd = Etcd()
    registrar = register(etcd.endpoint, INSTANCE)
    assert not registrar.held
    with etcd:
        wait_until(lambda: registrar.held, RECOVERY)
        assert set(etcd.keys()) == {KEY}
        registrar.stop()


def test_starting_while_etcd_hangs(register: Register, own_etcd: Etcd) -> None:
    own_etcd.suspend()
    registrar = register(own_etcd.endpoint, INSTANCE, timeout=0.5)
    stays(lambda: not registrar.held, 0.8)
    own_etcd.resume()
    wait_until(lambda: registrar.held, RECOVERY)
    wait_until(lambda: own_etcd.leases() == {own_etcd.keys()[KEY].lease}, RECOVERY)
    registrar.stop()


def test_stop_removes_key_and_lease(register: Register, own_etcd: Etcd) -> None:
    registrar = register(own_etcd.endpoint, INSTANCE)
    wait_until(lambda: registrar.held)
    stopping = threading.Thread(target=registrar.stop)
    stopping.start()
    wait_until(lambda: not own_etcd.keys() and not own_etcd.leases(), 0.5)
    stopping.join()
    assert not registrar.held
    registrar.stop()  # once more does no harm


def test_stopping_while_etcd_is_down_returns_in_time(
    register: Register, own_etcd: Etcd, caplog: pytest.LogCaptureFixture
) -> None:
    registrar = register(own_etcd.endpoint, INSTANCE, ttl=1)
    wait_until(lambda: registrar.held)
    own_etcd.kill()
    ends_within(registrar, 0.3)
    wait_until(lambda: not registrar.thread.is_alive(), what="the last attempt to end")
    assert "the key goes when its lease runs out" in caplog.text


def test_stopping_while_etcd_hangs_returns_in_time(register: Register, own_etcd: Etcd) -> None:
    registrar = register(
        own_etcd.endpoint, INSTANCE, ttl=1, timeout=30
    )  # it is in a call for longer than stop() may take
    wait_until(lambda: registrar.held)
    own_etcd.suspend()
    ends_within(registrar, 0.8)
    own_etcd.resume()
    wait_until(lambda: not own_etcd.keys() and not own_etcd.leases(), RECOVERY)


def test_an_attempt_may_outlast_stop(register: Register, own_etcd: Etcd) -> None:
    registrar = register(own_etcd.endpoint, INSTANCE, timeout=1.0)
    wait_until(lambda: registrar.held)
    own_etcd.suspend()
    ends_within(registrar, 0.2)
    wait_until(lambda: not registrar.thread.is_alive(), what="the last attempt to end")
    assert not registrar.thread.died


def test_stopping_revokes_as_soon_as_etcd_answers_again(register: Register, own_etcd: Etcd) -> None:
    registrar = register(own_etcd.endpoint, INSTANCE, timeout=0.5)
    wait_until(lambda: registrar.held)
    own_etcd.suspend()
    stopping = threading.Thread(target=registrar.stop, args=(20,))
    stopping.start()
    stays(lambda: not registrar.held, 0.8)  # long enough for a first try to fail
    own_etcd.resume()
    wait_until(lambda: not own_etcd.keys() and not own_etcd.leases(), RECOVERY)
    stopping.join()


def test_attempts_to_stop_are_spaced(register: Register, own_etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, high: high)
    with EtcdProxy(own_etcd.endpoint) as proxy:
        registrar = register(proxy.endpoint, INSTANCE)
        wait_until(lambda: registrar.held)
        proxy.lead_to(NOWHERE)
        ends_within(registrar, 1.0)
        assert proxy.calls["LeaseRevoke"] <= 7, "after 0.05, 0.1, 0.2, 0.4 and 0.8 s"


def test_stop_without_registration_returns_at_once() -> None:
    registrar = Registrar(EtcdConfig((NOWHERE,), "user", "password"), "user", INSTANCE)
    registrar.start()
    stopping = threading.Thread(target=registrar.stop, args=(60,))
    stopping.start()
    stopping.join(RECOVERY)
    assert not stopping.is_alive()


def test_leases_are_renewed_each_third_of_a_ttl(register: Register, own_etcd: Etcd) -> None:
    with EtcdProxy(own_etcd.endpoint) as proxy:
        registrar = register(proxy.endpoint, INSTANCE, timeout=10, ttl=6)
        wait_until(lambda: registrar.held and proxy.calls["Watch"])
        began, before = time.monotonic(), proxy.calls.copy()
        wait_until(lambda: proxy.calls["LeaseKeepAlive"] >= before["LeaseKeepAlive"] + 3)
        assert time.monotonic() - began > 2.0
        assert proxy.calls["Watch"] == before["Watch"], "it is still the same session"
        registrar.stop()


def test_lost_grant_leaves_no_lease(register: Register, own_etcd: Etcd, caplog: pytest.LogCaptureFixture) -> None:
    with EtcdProxy(own_etcd.endpoint) as proxy:
        proxy.hold_answers("LeaseGrant")
        registrar = register(proxy.endpoint, INSTANCE, timeout=0.5, ttl=600)
        lost = wait_until(own_etcd.leases)
        wait_until(lambda: not own_etcd.leases() & lost, RECOVERY)
        proxy.release()
        wait_until(lambda: registrar.held)
        wait_until(lambda: own_etcd.leases() == {own_etcd.keys()[KEY].lease}, RECOVERY)
        registrar.stop()
        assert own_etcd.leases() == set()
    assert "unexpected error" not in caplog.text


def test_lost_grant_leaves_no_lease_after_stop(register: Register, own_etcd: Etcd) -> None:
    with EtcdProxy(own_etcd.endpoint) as proxy:
        proxy.hold_answers("LeaseGrant")
        registrar = register(proxy.endpoint, INSTANCE, timeout=0.5, ttl=600)
        wait_until(own_etcd.leases)
        registrar.stop()
        assert own_etcd.leases() == set()


def test_late_grant_leaves_no_lease(register: Register, own_etcd: Etcd) -> None:
    with EtcdProxy(own_etcd.endpoint) as proxy:
        proxy.hold_requests("LeaseGrant")
        registrar = register(proxy.endpoint, INSTANCE, timeout=0.5, ttl=600)
        wait_until(lambda: proxy.calls["LeaseRevoke"] >= 3)  # of the first lease etcd has twice said that it knows none
        proxy.release()  # and makes it now
        wait_until(lambda: registrar.held)
        own_etcd.delete(KEY)  # stands for the next look at the key, a third of the TTL later
        wait_until(lambda: own_etcd.leases() == {own_etcd.keys()[KEY].lease} if own_etcd.keys() else False, RECOVERY)
        registrar.stop()
        assert own_etcd.leases() == set()


def test_a_lease_never_granted_is_forgotten(
    register: Register, own_etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service_kit.registry.registrar._GRANT_EXPIRY", 2.0)
    with EtcdProxy(own_etcd.endpoint) as proxy:
        proxy.hold_requests("LeaseGrant")
        registrar = register(proxy.endpoint, INSTANCE, timeout=0.5, ttl=1)
        wait_until(lambda: proxy.calls["LeaseGrant"] >= 2)
        proxy.lead_to(NOWHERE)
        proxy.release()
        attempts = proxy.calls["LeaseRevoke"]
        wait_until(lambda: proxy.calls["LeaseRevoke"] > attempts, what="another attempt, when the requests are lost")
        proxy.lead_to(own_etcd.endpoint)
        wait_until(lambda: registrar.held)

        def revokes_nothing() -> bool:
            revoked, renewed = proxy.calls["LeaseRevoke"], proxy.calls["LeaseKeepAlive"]
            wait_until(lambda: proxy.calls["LeaseKeepAlive"] >= renewed + 3)
            return proxy.calls["LeaseRevoke"] == revoked

        wait_until(revokes_nothing, 20)
        registrar.stop()


def test_a_killed_processes_key_is_taken_over(register: Register, own_etcd: Etcd) -> None:
    own_etcd.put(KEY, INSTANCE.encode(), lease=own_etcd.grant(600))
    registrar = register(own_etcd.endpoint, INSTANCE)
    wait_until(lambda: registrar.held)
    registrar.stop()
    assert own_etcd.keys() == {}


def test_two_registrars_with_one_address_make_peace(
    register: Register, own_etcd: Etcd, caplog: pytest.LogCaptureFixture
) -> None:
    rivals = [register(own_etcd.endpoint, INSTANCE)]
    wait_until(lambda: rivals[0].held)
    rivals.append(register(own_etcd.endpoint, INSTANCE))
    (warning,) = wait_until(lambda: [r for r in caplog.records if r.levelno == logging.WARNING])
    assert "held by another live lease" in warning.getMessage()
    wait_until(lambda: sum(rival.held for rival in rivals) == 1)
    found = own_etcd.keys()[KEY]
    stays(lambda: own_etcd.keys()[KEY] == found and sum(rival.held for rival in rivals) == 1, 1.0)
    holder, other = sorted(rivals, key=lambda rival: not rival.held)
    holder.stop()
    wait_until(lambda: other.held, RECOVERY, what="the other one to take the free key")
    other.stop()
    assert own_etcd.leases() == set()


def test_a_key_without_a_lease_is_always_overwritten(register: Register, own_etcd: Etcd) -> None:
    registrar = register(own_etcd.endpoint, INSTANCE)
    wait_until(lambda: registrar.held)
    for _ in range(2):
        own_etcd.put(KEY, b"junk")
        wait_until(lambda: own_etcd.keys()[KEY].value == INSTANCE.encode())
    registrar.stop()


def test_a_lost_key_is_retaken_after_one_pause(
    register: Register, own_etcd: Etcd, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service_kit.registry.registrar._TRUCE", 6.0)
    monkeypatch.setattr("random.uniform", lambda low, _: low)
    registrar = register(own_etcd.endpoint, INSTANCE, ttl=1)
    wait_until(lambda: registrar.held)
    rival = own_etcd.grant(600)

    def is_rivals() -> bool:
        found = own_etcd.keys().get(KEY)
        return found is not None and found.lease == rival

    own_etcd.put(KEY, INSTANCE.encode(), rival)
    wait_until(lambda: not is_rivals(), what="the lease to be taken for that of a killed process")
    own_etcd.put(KEY, INSTANCE.encode(), rival)
    wait_until(lambda: "held by another live lease" in caplog.text)
    stays(lambda: is_rivals() and not registrar.held, 0.7)
    wait_until(lambda: registrar.held)
    assert caplog.text.count("held by another live lease") == 1
    registrar.stop()


def test_a_rivals_new_key_is_not_overwritten(
    own_etcd: Etcd, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    own_etcd.put(KEY, INSTANCE.encode(), lease=own_etcd.grant(600))
    with EtcdProxy(own_etcd.endpoint) as proxy:
        registrar = register(proxy.endpoint, INSTANCE, timeout=10)
        wait_until(lambda: registrar.held)  # it has taken the key over, and may not do so again
        proxy.hold_requests("Txn")
        written = proxy.calls["Txn"]
        own_etcd.delete(KEY)
        wait_until(lambda: proxy.calls["Txn"] > written)
        rival = own_etcd.grant(600)
        own_etcd.put(KEY, INSTANCE.encode(), lease=rival)
        proxy.release()
        stays(lambda: own_etcd.keys()[KEY].lease == rival and not registrar.held, 0.5)
        assert "unexpected error" not in caplog.text
        registrar.stop()


def test_held_lasts_until_the_lease_may_expire(own_etcd: Etcd) -> None:
    with RegistrarHarness(own_etcd, ttl=2) as harness:
        own_etcd.suspend()
        stays(lambda: harness.registrar.held, 0.7)
        wait_until(lambda: not harness.registrar.held, 4)
        wait_until(lambda: harness.held == [True, False], RECOVERY)
        own_etcd.resume()
        harness.back()
        assert harness.held == [True, False, True]


def test_held_is_false_without_our_key(own_etcd: Etcd) -> None:
    with (
        EtcdProxy(own_etcd.endpoint) as proxy,
        RegistrarHarness(own_etcd, endpoints=(proxy.endpoint,), ttl=60) as harness,
    ):
        proxy.hold_requests("Txn")
        own_etcd.delete(harness.key)
        wait_until(lambda: harness.held == [True, False])
        assert not harness.registrar.held
        proxy.release()
        harness.back()


def test_unexpected_errors_restart_the_session(
    own_etcd: Etcd, register: Register, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = itertools.count()

    class Unreliable(Client):
        def get(self, key: str) -> tuple[Entry | None, int]:
            if next(attempts) < 3:
                raise RuntimeError("unforeseen")
            return super().get(key)

    monkeypatch.setattr("service_kit.registry.supervisor.Client", Unreliable)
    registrar = register(own_etcd.endpoint, INSTANCE)
    wait_until(lambda: registrar.held, RECOVERY)
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


def test_a_hook_that_fails_harms_nothing(register: Register, own_etcd: Etcd, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("the hook is broken")

    registrar = register(own_etcd.endpoint, INSTANCE, on_change=fail, on_registration=fail)
    wait_until(lambda: registrar.held)
    lease = own_etcd.keys()[KEY].lease
    own_etcd.delete(KEY)
    wait_until(lambda: own_etcd.keys().get(KEY))
    assert own_etcd.keys()[KEY].lease == lease
    assert "the hook is broken" in caplog.text
    assert "restarting the session" not in caplog.text
    registrar.stop()
    assert own_etcd.keys() == {}


def test_a_ttl_below_a_second_is_refused() -> None:
    with pytest.raises(ValueError, match="1 s or more"):
        Registrar(EtcdConfig(("127.0.0.1:2379",)), "user", INSTANCE, ttl=0)


@pytest.mark.parametrize("endpoints", [(), ("etcd",), (":2379",), ("etcd:http",)])
def test_endpoints_are_checked(endpoints: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        EtcdConfig(endpoints)


def test_user_name_and_password_go_together() -> None:
    with pytest.raises(ValueError, match="go together"):
        EtcdConfig(("127.0.0.1:2379",), username="user")
    with pytest.raises(ValueError, match="go together"):
        EtcdConfig(("127.0.0.1:2379",), password="canary")
    assert "canary" not in repr(EtcdConfig(("127.0.0.1:2379",), username="user", password="canary"))
