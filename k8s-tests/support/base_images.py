"""The images of cluster/images/, of which `make cluster` loads only those that every test needs."""

import subprocess
from pathlib import Path

from support.cluster import Cluster
from support.context import local_folder

_FOLDER = Path(__file__).parents[1] / "cluster"


def loaded(name: str, cluster: Cluster) -> str:
    """Return the image's name, after making and loading it where none can be pulled."""
    image = (_FOLDER / "images" / name / "names").read_text().split()[0]
    if cluster.context.kind == "local":
        made = subprocess.run([_FOLDER / "base-images.sh", name], stdout=subprocess.PIPE, text=True, check=True)
        ctr = str(local_folder() / "bin" / "ctr")
        subprocess.run([ctr, "images", "import", made.stdout.strip()], stdout=subprocess.DEVNULL, check=True)
    return image
