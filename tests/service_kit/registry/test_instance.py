"""The record and its key are Kitex's."""

import dataclasses
import json

import pytest

from service_kit.registry import DEFAULT_PREFIX, Instance, key
from service_kit.registry.instance import decode_at


def test_the_record_is_what_kitex_writes() -> None:
    instance = Instance("10.1.2.3:8888", weight=20, tags={"zone": "a", "name": "用户"})
    expected = '{"network":"tcp","address":"10.1.2.3:8888","weight":20,"tags":{"zone":"a","name":"用户"}}'
    assert instance.encode() == expected.encode()
    assert Instance.decode(instance.encode()) == instance


@pytest.mark.parametrize("address", ["10.1.2.3:8888", "10.1.2.3:65535", "[fd00::1]:8888", "[::1]:8888"])
def test_the_key_is_kitexs(address: str) -> None:
    at = key(DEFAULT_PREFIX, "user", address)
    assert at == f"kitex/registry-etcd/user/{address}"
    assert decode_at(at, Instance(address).encode(), lease=1).address == address


@pytest.mark.parametrize(
    "value, expected",
    [
        ('{"network":"tcp","address":"10.0.0.1:1","weight":10,"tags":null}', Instance("10.0.0.1:1")),
        ('{"network":"tcp","address":"10.0.0.1:1","weight":0,"tags":{}}', Instance("10.0.0.1:1")),
        ('{"network":"tcp","address":"10.0.0.1:1","weight":-3}', Instance("10.0.0.1:1")),
        ('{"network":"tcp","address":"10.0.0.1:1","weight":1}', Instance("10.0.0.1:1", weight=1)),
        ('{"network":"tcp","address":"10.0.0.1:1","new":[1]}', Instance("10.0.0.1:1")),
        ('{"network":"tcp","address":"fd00::1:8888","weight":10,"tags":null}', Instance("[fd00::1]:8888")),
    ],
    ids=[
        "null tags",
        "no weight",
        "a negative weight",
        "the least weight",
        "an unknown member",
        "an IPv6 address as Kitex writes it",
    ],
)
def test_records_that_kitex_reads_are_read(value: str, expected: Instance) -> None:
    address = json.loads(value)["address"]
    assert decode_at(key(DEFAULT_PREFIX, "user", address), value.encode(), lease=1) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'"10.0.0.1:1"',
        b"[" * 100_000,
        b"9" * 10_000,
        b"{}",
        b'{"network":"tcp"}',
        b'{"address":"10.0.0.1:1"}',
        b'{"network":"unix","address":"10.0.0.1:1"}',
        b'{"network":"tcp","address":null}',
        b'{"network":"tcp","address":["10.0.0.1:1"]}',
        b'{"network":"tcp","address":"10.0.0.1:1","weight":"10"}',
        b'{"network":"tcp","address":"10.0.0.1:1","weight":true}',
        b'{"network":"tcp","address":"10.0.0.1:1","weight":1.5}',
        b'{"network":"tcp","address":"10.0.0.1:1","tags":["a"]}',
        b'{"network":"tcp","address":"10.0.0.1:1","tags":{"a":1}}',
        b'{"network":"tcp","address":"10.0.0.2:1"}',
    ],
    ids=lambda value: value[:60].decode(errors="replace"),
)
def test_unusable_records_are_value_errors(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode_at(key(DEFAULT_PREFIX, "user", "10.0.0.1:1"), value, lease=1)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:65537",
        "10.0.0.1:+1",
        "10.0.0.1:८",
        ":8888",
        "user-svc:8888",
        "0.0.0.0:8888",
        "[::]:8888",
        "224.0.0.1:8888",
        "::1:8888",
        "[10.0.0.1]:8888",
        "[fe80::1%eth0]:8888",
        "[::1]",
    ],
)
def test_unconnectable_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Instance(address)


@pytest.mark.parametrize("weight", [-1, 0])
def test_a_weight_must_be_positive(weight: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        Instance("10.0.0.1:1", weight=weight)


def test_an_instance_never_changes() -> None:
    tags = {"zone": "a"}
    instance = Instance("10.0.0.1:1", tags=tags)
    tags["zone"] = "b"
    assert instance.tags == {"zone": "a"}
    with pytest.raises(TypeError):
        instance.tags["zone"] = "b"  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        instance.address = "10.0.0.2:1"  # type: ignore[misc]
    assert len({instance, Instance("10.0.0.1:1", tags={"zone": "a"})}) == 1
