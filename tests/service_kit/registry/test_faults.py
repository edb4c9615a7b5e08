"""What happens to etcd, or is done to the key by hand, is got over without help."""

import logging
import time
from collections.abc import Callable

import pytest

from service_kit.registry import EtcdConfig, Instance, Resolver, key
from tests.service_kit.registry.conftest import Register
from tests.service_kit.registry.harness import RECOVERY, RegistrarHarness
from tests.support.etcd import Etcd
from tests.support.etcd_proxy import EtcdProxy
from tests.support.wait import stays, wait_until

Outage = Callable[[RegistrarHarness, float], None]
ByHand = Callable[[RegistrarHarness], None]


def killed(harness: RegistrarHarness, duration: float) -> None:
    harness.etcd.kill()
    harness.away(duration)
    harness.etcd.start()


def wiped(harness: RegistrarHarness, duration: float) -> None:
    harness.etcd.kill()
    harness.etcd.wipe()
    harness.away(duration)
    harness.etcd.start()


def hung(harness: RegistrarHarness, duration: float) -> None:
    harness.etcd.suspend()
    harness.away(duration)
    harness.etcd.resume()


def survives(etcd: Etcd, outage: Outage, duration: float, ttl: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with RegistrarHarness(etcd, ttl=ttl) as harness:
        caplog.clear()
        outage(harness, duration)
        harness.back()
        # Each says so last, once its watch is there.
        wait_until(lambda: caplog.text.count("etcd works again") >= 2, RECOVERY, what="the end of it to be told")
        assert harness.held == [True, False, True]
        assert harness.reasons in (["start"], ["start", "reconnected"], ["start", "lease_lost"])
        # Those who read the snapshots never lost the instance.
        first = next(number for number, snapshot in enumerate(harness.snapshots) if snapshot.instances)
        assert all(snapshot.addresses == (harness.instance.address,) for snapshot in harness.snapshots[first:])
    # However many attempts there were, each of the two has told of it once, and of its end.
    assert caplog.text.count("etcd works again") == 2
    warnings = sorted(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert [warning.partition(":")[0] for warning in warnings] == ["registrar", "resolver"]
    assert all("ETCD_ADDRESS" in warning and etcd.endpoint in warning for warning in warnings)


@pytest.mark.parametrize("outage, duration", [(killed, 0), (wiped, 0), (hung, 2)], ids=["killed", "wiped", "hung"])
def test_an_outage_of_etcd(own_etcd: Etcd, outage: Outage, duration: float, caplog: pytest.LogCaptureFixture) -> None:
    survives(own_etcd, outage, duration, 3, caplog)


@pytest.mark.faults
@pytest.mark.parametrize("outage, duration", [(killed, 65), (wiped, 65), (hung, 30)], ids=["killed", "wiped", "hung"])
def test_a_long_outage_of_etcd(
    own_etcd: Etcd, outage: Outage, duration: float, caplog: pytest.LogCaptureFixture
) -> None:
    survives(own_etcd, outage, duration, 10, caplog)


@pytest.mark.faults
def test_hanging_etcd_is_noticed_without_a_call(own_etcd: Etcd, caplog: pytest.LogCaptureFixture) -> None:
    resolver = Resolver(EtcdConfig((own_etcd.endpoint,)), "user", relist=600)
    resolver.start()
    wait_until(lambda: resolver.snapshot)
    stays(lambda: caplog.text == "", 3)  # until the line is quiet: the first calls still have pings under way
    own_etcd.suspend()
    wait_until(lambda: "ETCD_ADDRESS" in caplog.text, 12)
    resolver.stop(timeout=0)


def delete_key(harness: RegistrarHarness) -> None:
    harness.etcd.delete(harness.key)


def revoke_lease(harness: RegistrarHarness) -> None:
    harness.etcd.revoke(harness.found.lease)


def overwrite_with_junk(harness: RegistrarHarness) -> None:
    harness.etcd.put(harness.key, b"\xff{", lease=harness.found.lease)


def overwrite_with_another_record(harness: RegistrarHarness) -> None:
    harness.etcd.put(harness.key, Instance(harness.instance.address, weight=1).encode())


def take_the_lease_away(harness: RegistrarHarness) -> None:
    harness.etcd.put(harness.key, harness.instance.encode())


@pytest.mark.parametrize(
    "by_hand, reason",
    [
        (delete_key, "key_deleted"),
        (revoke_lease, "lease_lost"),
        (overwrite_with_junk, "key_overwritten"),
        (overwrite_with_another_record, "key_overwritten"),
        (take_the_lease_away, "key_overwritten"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_hand_on_the_key(own_etcd: Etcd, by_hand: ByHand, reason: str) -> None:
    # So long a TTL that only the watch of the key can tell in time.
    with RegistrarHarness(own_etcd, ttl=60, linger=60, relist=60) as harness:
        by_hand(harness)
        harness.back()
        wait_until(lambda: harness.reasons == ["start", reason], RECOVERY)
        assert all(harness.instance.address in snapshot.addresses for snapshot in harness.snapshots[-1:])


def test_a_key_that_is_changed_again_and_again(own_etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, high: high)
    with RegistrarHarness(own_etcd, ttl=60, relist=60) as harness:
        began = time.monotonic()
        for _ in range(5):
            own_etcd.delete(harness.key)
            harness.back()
        assert time.monotonic() - began > 1.5


def test_watch_continues_after_etcd_is_wiped(own_etcd: Etcd) -> None:
    for _ in range(50):  # so that the revisions of the old etcd lie in the future of the new one
        own_etcd.put("elsewhere", "")
    with RegistrarHarness(own_etcd, relist=60) as harness:
        wiped(harness, 0)
        harness.back()
        own_etcd.delete(harness.key)
        harness.back()
        newcomer = Instance("10.0.0.9:8888")
        at = key(harness.prefix, "user", newcomer.address)
        lease = own_etcd.grant(600)
        own_etcd.put(at, newcomer.encode(), lease)
        wait_until(lambda: newcomer in harness.snapshot.instances, RECOVERY)
        own_etcd.revoke(lease)


def test_key_gone_after_an_outage_is_a_reconnection(own_etcd: Etcd) -> None:
    with (
        EtcdProxy(own_etcd.endpoint) as proxy,
        RegistrarHarness(own_etcd, endpoints=(proxy.endpoint,), ttl=60) as harness,
    ):
        proxy.cut()
        own_etcd.delete(harness.key)
        proxy.restore()
        harness.back()
        wait_until(lambda: harness.reasons == ["start", "reconnected"], RECOVERY)


def test_a_compaction_while_the_watch_is_away(own_etcd: Etcd) -> None:
    with (
        EtcdProxy(own_etcd.endpoint) as proxy,
        RegistrarHarness(own_etcd, endpoints=(proxy.endpoint,), relist=60) as harness,
    ):
        proxy.cut()
        harness.away()
        newcomer = Instance("10.0.0.9:8888")
        at = key(harness.prefix, "user", newcomer.address)
        lease = own_etcd.grant(600)
        own_etcd.put(at, newcomer.encode(), lease)
        own_etcd.compact()
        proxy.restore()
        wait_until(lambda: newcomer in harness.snapshot.instances, RECOVERY)
        own_etcd.revoke(lease)
        harness.back()


def test_a_compaction_before_the_watch_stands(own_etcd: Etcd) -> None:
    with (
        EtcdProxy(own_etcd.endpoint) as proxy,
        RegistrarHarness(own_etcd, endpoints=(proxy.endpoint,), ttl=60) as harness,
    ):
        proxy.cut()
        proxy.hold_requests("Watch")
        calls = proxy.calls["Watch"]
        proxy.restore()
        wait_until(lambda: proxy.calls["Watch"] > calls)
        for _ in range(3):
            own_etcd.put(harness.prefix + "/user/x", "")
            own_etcd.delete(harness.prefix + "/user/x")
        own_etcd.compact()
        proxy.release()
        harness.back()


def test_a_watch_that_is_never_answered(own_etcd: Etcd, register: Register) -> None:
    with EtcdProxy(own_etcd.endpoint) as proxy:
        proxy.hold_requests("Watch")
        registrar = register(proxy.endpoint, Instance("10.0.0.1:8888"), timeout=0.3)
        wait_until(lambda: proxy.calls["Watch"] >= 2, what="another attempt")
        proxy.release()
        wait_until(lambda: registrar.held)
        registrar.stop()


def test_a_watch_that_has_gone_silent(own_etcd: Etcd) -> None:
    with EtcdProxy(own_etcd.endpoint) as proxy:
        proxy.hold_answers("Watch", after=1)
        with RegistrarHarness(own_etcd, endpoints=(proxy.endpoint,)) as harness:
            own_etcd.delete(harness.key)
            harness.back()
            proxy.release()


def test_another_etcd_behind_the_same_connection(own_etcd: Etcd) -> None:
    with Etcd() as wiped_etcd, EtcdProxy(own_etcd.endpoint) as proxy:
        for _ in range(50):
            own_etcd.put("elsewhere", "")
        with RegistrarHarness(own_etcd, endpoints=(proxy.endpoint,)) as harness:
            proxy.lead_to(wiped_etcd.endpoint)
            harness.etcd = wiped_etcd
            harness.back()
            watches = proxy.calls["Watch"]
            assert watches >= 4, "both have restarted their watches"
