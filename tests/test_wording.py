"""Text says what the documentation of Kubernetes, gRPC, etcd, Prometheus or an RFC would say: subject, verb, object."""

import re
import subprocess

import pytest

from tests.support.process import ROOT

SAY = {
    r"^Needed: ": "Requirements:",
    r"\b(is|are|was|were|be|been|goes|went) away\b(?! from)": "is unavailable, is down; the client cancelled",
    r"\bbear(s|ing)?\b": "carries, contains, has",
    r"\banew\b": "again; reinstall, restart, regenerate",
    r"\b(is|are|was|were) made once\b|^.*Empty: made once": "is generated once",
    r"\b[Pp]romises? (is|are) kept|[Aa]lerts? on (a )?promises?\b": "the SLOs are met; SLO alerts",
    r"\bevenings?\b": "run, outages",
    r"\bwith a sentence\b|\ba sentence (that|when|for)\b|ends the start": "an error message; makes startup fail",
    r"no rule is ever": "no rule is declared but not enforced",
    r"\b[Ww]ho (sends|presents|asks|gets|wants)\b": "clients that send; the sender",
    r"\bwhoever\b": "anyone who, clients that",
    r"bytes that are (no|not) HTTP": "malformed HTTP",
    r"says nothing but": "carries no details",
    r"\bmakes? up once\b": "generates once",
    r"brings the schema up|schema cannot be brought up": "migrates the schema; schema migration failed",
    r"\bWhat lacks\b": "Missing ... are added",
    r"\b(caller|client) has gone\b": "the client cancelled the call",
    r"\bnobody answers\b": "outermost layer: must always respond",
    r"\bgive or take\b": "approximately",
    r"starting over after what": "unexpected error, restarting",
    r"\bnobody's concern\b": "routine",
    r"\bnobody can connect\b": "is not a connectable address",
    r"\bshall\b": "must",
    r"\bpassword fits\b": "login succeeded",
    r"\bwhatever the case\b": "case-insensitively",
    r"\b_(doubtful|truce|owes|LATE)\b|\bput right\b|\bput_right\b": "_orphan_leases, _conflict_backoff; corrected",
    r"\bclass (Hand|Scene)\b|\b(form|cores)\.py\b": "ClientPod, Setup, builders.py, cpu_quota.py",
    r"\bfor ever\b": "permanently, without end",
    r"\bmend(s|ed)?\b": "fix, remedy",
    r"\bturn(ed)? away\b": "clients move to other pods",
    r"\bnobody (can|else|notices|there|waits|has|gave)\b": "no client, no other; cannot be",
    r"\bin vain\b": "without success",
    r"\bon that (day|night)\b": "during that run",
}
"""What is not written, as regular expressions, and what is written in its place."""

NOT_OURS = re.compile(r"LICENSE|requirements/|\.(json|sum|mod|png)$|_pb2|tests/test_wording\.py")


def texts() -> list[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name and not NOT_OURS.search(name)]
    return [
        (str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
        for path in paths
        if path.is_file() and not path.is_symlink()
    ]


@pytest.mark.parametrize("pattern", SAY)
def test_text_uses_the_terms_of_the_field(pattern: str) -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, f"say: {SAY[pattern]}"


def test_names_have_at_most_eight_words() -> None:
    names = {name for path, text in texts() if path.endswith(".py") for name in re.findall(r"def test_(\w+)", text)}
    assert [name for name in names if len(name.split("_")) > 8] == []
