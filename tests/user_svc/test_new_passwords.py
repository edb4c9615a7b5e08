"""Which new passwords are refused."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from user_svc.new_passwords import PasswordCheck, problem

COMMON = "过于常见，容易被猜到"
NAMED = "不能包含用户名"


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("1234567", "至少 8 个字符"),
        ("x" * 33, "至多 32 个字符"),
        ("密" * 25, "UTF-8 编码后不能超过 72 字节，且不能包含 NUL 字符"),
        ("ripe\0avocado", "UTF-8 编码后不能超过 72 字节，且不能包含 NUL 字符"),
        ("current-One-7", "不能与当前密码相同"),
        ("i-am-ALICE-7", NAMED),
        *[(common, COMMON) for common in ("password123", "qwertyuiop", "aaaaaaaaaaaa", "20010911", "13800138000")],
        *[(common, COMMON) for common in ("woaini1314", "Woaini1314!", "5201314520", "a123456789", "nihao123456")],
        ("密码密码密码", "至少 8 个字符"),
        ("密码密码密码密码", COMMON),
        ("ripe-avocado", None),
        ("k3Xv9mQz", None),
        ("x7" * 8 + "lemon & salt", None),
        ("今晚月色真美风也温柔", None),
    ],
)
def test_new_passwords_are_judged(password: str, says: str | None) -> None:
    assert problem(password, "Alice", "current-One-7", PasswordCheck.CHANGE) == says


@pytest.mark.parametrize(
    ("password", "says"),
    [("password123", None), ("alice123", None), ("1234567", "至少 8 个字符"), ("current-One-7", "不能与当前密码相同")],
)
def test_the_contract_holds_with_the_check_off(password: str, says: str | None) -> None:
    assert problem(password, "alice", "current-One-7", PasswordCheck.OFF) == says


def test_passwords_are_judged_on_many_threads() -> None:
    names = [f"user{number}" for number in range(64)]
    with ThreadPoolExecutor(8) as threads:
        judged = list(threads.map(lambda name: problem("ripe-avocado", name, None, PasswordCheck.CHANGE), names))
    assert judged == [None] * 64
