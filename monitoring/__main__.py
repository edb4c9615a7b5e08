"""Writes the rules and dashboards: `python -m monitoring` or `make monitoring`."""

from monitoring.generate import write

write()
