"""Deletes snapshots that are older than so many days, and what was never finished: python prune.py FOLDER DAYS."""

import sys
import time
from pathlib import Path

folder, days = Path(sys.argv[1]), float(sys.argv[2])
oldest = time.time() - days * 86400
for path in (*folder.glob("*.db"), *folder.glob("*.part")):
    if path.stat().st_mtime < oldest:
        path.unlink()
for path in sorted(folder.glob("*.db")):
    print(path.stat().st_size, path.name)
