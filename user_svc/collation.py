"""How a collation of MySQL or MariaDB compares names: read from the server, since its name is not enough."""

from string import ascii_letters, ascii_lowercase, digits

from sqlalchemy import Connection, text

_CHARACTERS = " UNION ALL ".join(f"SELECT '{character}' AS c" for character in ascii_letters + digits + "_")
_PAIRS = f"FROM ({_CHARACTERS}) AS a JOIN ({_CHARACTERS}) AS b"
_CASES = {(letter.upper(), letter) for letter in ascii_lowercase}


def tells_cases_apart(connection: Connection, charset: str, collation: str) -> bool:
    """Tell whether all characters of names are different ones to the collation."""
    return not _same(connection, charset, collation)


def difference(connection: Connection, charset: str, collation: str) -> str | None:
    """Return how the collation differs from the contract's comparison of names; None when it does not.

    The contract's names are of A to Z, a to z, 0 to 9 and _, and the case of A to Z is all that does not count.
    """
    same = _same(connection, charset, collation)
    for one, other in sorted(_CASES - same):
        return f"tells {one} and {other} apart"
    for one, other in sorted(same - _CASES):
        return f"takes {one} and {other} for one"
    # Some have letters of two characters, such as Czech ch, and do not know all ways to write them.
    pair = "CONCAT(a.c, b.c)"
    folded, plain = _collated(f"LOWER({pair})", charset, collation), _collated(pair, charset, collation)
    query = f"SELECT {pair} {_PAIRS} WHERE {plain} <> {folded} ORDER BY CAST({pair} AS BINARY) LIMIT 1"
    letters = connection.scalar(text(query))
    return f"tells {letters} and {letters.lower()} apart" if letters else None


def _same(connection: Connection, charset: str, collation: str) -> set[tuple[str, str]]:
    one, other = (_collated(character, charset, collation) for character in ("a.c", "b.c"))
    query = f"SELECT a.c, b.c {_PAIRS} ON {one} = {other} WHERE CAST(a.c AS BINARY) < CAST(b.c AS BINARY)"
    return {(first, second) for first, second in connection.execute(text(query))}


def _collated(expression: str, charset: str, collation: str) -> str:
    return f"CONVERT({expression} USING {charset}) COLLATE {collation}"
