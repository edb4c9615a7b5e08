"""Writes the version in VERSION into every file that states it: `make version V=X.Y.Z`."""

import re
import sys
from pathlib import Path

SEMANTIC = r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?"
OWN_CHARTS = ("gateway-svc", "user-svc", "video-platform")
"""Those whose application is this project; etcd and mysql have a version of their own in appVersion."""

PLACES = {
    "pyproject.toml": r'^(version = ")',
    "service_kit/telemetry/metrics.py": r'^(VERSION = ")',
    "openapi/openapi.yaml": r"^(  version: )",
    "Dockerfile.*": r"^(ARG VERSION=)",
    "charts/*/Chart.yaml": r"^((?: {4})?version: )",
    "charts/*/README.md": r"(\. Chart )",
    **{f"charts/{chart}/Chart.yaml": r"^((?:    |app)?[vV]ersion: )" for chart in OWN_CHARTS},
    **{f"charts/{chart}/README.md": r"(\. Chart |, application )" for chart in OWN_CHARTS},
}
"""What stands before the version, by file."""
IMAGES = r"(localhost/video-platform/(?:user|gateway)-svc:)"
"""The same, in every file that tells people what to type."""


def write(root: Path, version: str) -> None:
    """Make `version` the project's.

    Raises:
        ValueError: when it is not a semantic version.
    """
    if not re.fullmatch(SEMANTIC, version):
        raise ValueError(f"{version!r} is not a semantic version.")
    places = [(file, before) for pattern, before in PLACES.items() for file in root.glob(pattern)]
    typed = ("README.md", "docs/*.md", "Dockerfile.*")
    places += [(file, IMAGES) for pattern in typed for file in root.glob(pattern)]
    for file, before in places:
        text = file.read_text()
        file.write_text(re.sub(before + SEMANTIC, rf"\g<1>{version}", text, flags=re.MULTILINE))
    (root / "VERSION").write_text(f"{version}\n")


if __name__ == "__main__":
    try:
        write(Path(__file__).resolve().parent, sys.argv[1])
    except (IndexError, ValueError) as error:
        sys.exit(f"error: name the new version, as in `make version V=X.Y.Z`. {error}")
