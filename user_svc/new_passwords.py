"""Rules for new passwords, beyond those of every password. Checked locally."""

from collections.abc import Callable
from enum import Enum, StrEnum
from functools import cache
from typing import Any

from protos.user.v1 import contract

LENGTH = (8, 32)
"""Characters, at least and at most."""
LOWEST_SCORE = 2
"""Of zxcvbn's 0 to 4: below, fewer than a million guesses find the password."""

_FAVOURITES = (
    *("woaini", "woaini1314", "woaini520", "woaini521", "woaiwojia", "woaizhongguo", "wohenni", "wobuzhidao"),
    *("5201314", "1314520", "1314521", "5211314", "520520", "521521", "7758521", "7758258", "584520", "5845201314"),
    *("aini1314", "aini520", "aiwo1314", "iloveyou1314", "iloveyou520", "love1314", "love520", "qq5201314"),
    *("zhangwei", "wangwei", "wangfang", "liwei", "lina", "zhangmin", "lijing", "wangjing", "liuwei", "chenwei"),
    *("xiaoming", "xiaohong", "laopo", "laogong", "baobei", "qinaide", "nihao", "nihao123", "zhongguo", "beijing"),
    *("shanghai", "woshishui", "mima", "mima123", "mimamima", "mimashi", "denglu", "zhanghao", "guanliyuan"),
    *("wodemima", "woshini", "caonima", "nimasile", "tiancai", "wangluo", "diannao", "jiayou", "xingfu", "kuaile"),
    *("a123456", "a123456789", "a12345678", "abc123456", "aa123456", "qq123456", "q123456", "z123456", "as123456"),
    *("123456a", "123456aa", "123456abc", "123456789a", "123456qq", "woaini123", "1qaz2wsx", "qwe123", "qwer1234"),
    *("88888888", "66666666", "16888888", "168168", "518518", "666888", "888666", "147258369", "147852369"),
    *("789456123", "123qwe", "asd123", "zxc123", "qazwsx123", "1234qwer", "code8925", "taobao", "weixin", "alipay"),
)
"""Which leaks of Chinese sites show most, and zxcvbn's lists lack or rank too low."""


class PasswordCheck(StrEnum):
    """When new passwords are looked at for how easily they are guessed."""

    CHANGE = "change"
    """When one replaces another. Registration accepts what the contract allows."""
    OFF = "off"


class Rule(Enum):
    """A rule for new passwords, with its message to users."""

    SHORT = f"至少 {LENGTH[0]} 个字符"
    LONG = f"至多 {LENGTH[1]} 个字符"
    UNREADABLE = contract.PASSWORD_REASON
    SAME = "不能与当前密码相同"
    NAMED = "不能包含用户名"
    COMMON = "过于常见，容易被猜到"


def broken_rule(password: str, username: str, current: str | None, check: PasswordCheck) -> Rule | None:
    """Return the first rule that a new password breaks, None when it breaks none.

    `current` is the password that it replaces, as far as that is known.
    """
    if len(password) < LENGTH[0]:
        return Rule.SHORT
    if len(password) > LENGTH[1]:
        return Rule.LONG
    if not contract.is_bcrypt_password(password):
        return Rule.UNREADABLE
    if password == current:
        return Rule.SAME
    if check is PasswordCheck.OFF:
        return None
    if username.lower() in password.lower():
        return Rule.NAMED
    return Rule.COMMON if _zxcvbn()(password)["score"] < LOWEST_SCORE else None


@cache
def _zxcvbn() -> Callable[[str], Any]:
    """Return zxcvbn with our list. Its own take 15 MiB, which a process in which no password is set does without."""
    from zxcvbn import matching, zxcvbn

    # It writes `user_inputs` of each call into a dictionary that all threads iterate over: that must not grow then, and
    # what differs from call to call, such as the name, must not be in it.
    matching.add_frequency_lists({"favourites": _FAVOURITES, "user_inputs": ()})
    return zxcvbn  # type: ignore[no-any-return]
