"""Which new passwords are refused."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from user_svc.new_passwords import PasswordCheck, Rule, broken_rule


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("1234567", Rule.SHORT),
        ("x" * 33, Rule.LONG),
        ("密" * 25, Rule.UNREADABLE),
        ("ripe\0avocado", Rule.UNREADABLE),
        ("current-One-7", Rule.SAME),
        ("i-am-ALICE-7", Rule.NAMED),
        *[(common, Rule.COMMON) for common in ("password123", "qwertyuiop", "aaaaaaaaaaaa", "20010911", "13800138000")],
        *[(common, Rule.COMMON) for common in ("woaini1314", "Woaini1314!", "5201314520", "a123456789", "nihao123456")],
        ("密码密码密码", Rule.SHORT),
        ("密码密码密码密码", Rule.COMMON),
        ("ripe-avocado", None),
        ("k3Xv9mQz", None),
        ("x7" * 8 + "lemon & salt", None),
        ("今晚月色真美风也温柔", None),
    ],
)
def test_new_passwords_are_judged(password: str, rule: Rule | None) -> None:
    assert broken_rule(password, "Alice", "current-One-7", PasswordCheck.CHANGE) is rule


@pytest.mark.parametrize(
    ("password", "rule"),
    [("password123", None), ("alice123", None), ("1234567", Rule.SHORT), ("current-One-7", Rule.SAME)],
)
def test_the_contract_holds_with_the_check_off(password: str, rule: Rule | None) -> None:
    assert broken_rule(password, "alice", "current-One-7", PasswordCheck.OFF) is rule


def test_passwords_are_judged_on_many_threads() -> None:
    names = [f"user{number}" for number in range(64)]
    with ThreadPoolExecutor(8) as threads:
        judged = list(threads.map(lambda name: broken_rule("ripe-avocado", name, None, PasswordCheck.CHANGE), names))
    assert judged == [None] * 64
