"""Draws the queries of the Platform dashboard from recorded data: `python -m monitoring.picture RECORDING PICTURE`.

It is a plot of the same queries in the places of their panels, and no rendering of what Grafana would show.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, PercentFormatter

from monitoring.generate import dashboard_files

_COLUMNS = 24
_INCHES = 0.75
"""For a column and for a row of Grafana's grid."""
_MARGIN = 1.3
"""Inches at the top."""
_MOST_NAMES = 8
"""In a legend."""
_COLOURS = {"red": "#e02f44", "yellow": "#e0b400", "green": "#56a64b"}
_NOTE = (
    "A plot of the dashboard's own queries, drawn with matplotlib from what Prometheus recorded while "
    "tests/monitoring/test_live.py let one thing after another go wrong. Not a screenshot of Grafana."
)


def draw(recording: Path, picture: Path) -> None:
    """Draw what test_live.py has recorded into the file `picture`, whose suffix says its format."""
    recorded = json.loads(recording.read_text(encoding="utf-8"))
    (source,) = (path for path in dashboard_files() if path.stem == "platform")
    dashboard = json.loads(source.read_text(encoding="utf-8"))
    mpl.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    figure = Figure(figsize=(_COLUMNS * _INCHES, height * _INCHES / 2 + _MARGIN), layout=None)
    total = figure.get_figheight()
    figure.text(0.01, 1 - 0.35 / total, dashboard["title"], fontsize=18, weight="bold")
    figure.text(0.01, 1 - 0.65 / total, _NOTE, fontsize=9, color="#555555")
    faults = "  ".join(f"{number}\N{NO-BREAK SPACE}{name}," for number, name in enumerate(recorded["faults"], start=1))
    key = fill(f"The grey lines: {faults[:-1]}.", 180)
    figure.text(0.01, 1 - 0.9 / total, key, fontsize=9, color="#555555", verticalalignment="top")
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        top = 1 - (_MARGIN + at["y"] * _INCHES / 2) / total
        if panel["type"] == "row":
            figure.text(0.01, top - 0.2 / total, panel["title"], fontsize=12, weight="bold", color="#333333")
            continue
        bottom = top - (at["h"] * _INCHES / 2 - 0.95) / total
        axes = figure.add_axes(
            (at["x"] / _COLUMNS + 0.035, bottom, at["w"] / _COLUMNS - 0.05, top - bottom - 0.4 / total)
        )
        axes.set_title(panel["title"], loc="left", fontsize=10, pad=12)
        series = list(_series(panel, recorded))
        (_draw_states if panel["type"] == "state-timeline" else _draw_lines)(axes, panel, series)
        axes.set_xlim(0, recorded["ended"] - recorded["began"])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        _mark_faults(axes, recorded)
    figure.savefig(picture, dpi=90)


def _series(panel: dict[str, Any], recorded: dict[str, Any]) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield the legend, the seconds and the values of each series."""
    for target in panel["targets"]:
        for series in recorded["answers"][target["expr"]]:
            labels = series["metric"]
            name = re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), target["legendFormat"])  # noqa: B023
            points = [(at - recorded["began"], float(value)) for at, value in series["values"]]
            yield name, [at for at, _ in points], [value for _, value in points]


def _draw_lines(axes: Axes, panel: dict[str, Any], series: list[tuple[str, list[float], list[float]]]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    if defaults["custom"].get("stacking", {}).get("mode") == "normal":
        times = sorted({at for _, ats, _ in series for at in ats})
        known = [dict(zip(ats, values, strict=True)) for _, ats, values in series]
        axes.stackplot(
            times,
            [[each.get(at, 0.0) for at in times] for each in known],
            labels=[name for name, _, _ in series],
            alpha=0.7,
        )
    else:
        for name, ats, values in series:
            axes.plot(ats, values, label=name, linewidth=1.2)
    for step in defaults.get("thresholds", {"steps": []})["steps"]:
        if step["value"] is not None:
            axes.axhline(step["value"], color=_COLOURS[step["color"]], linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    formatters = {
        "percentunit": PercentFormatter(1.0, decimals=0),
        "s": EngFormatter("s"),
        "reqps": FuncFormatter(lambda value, _: f"{value:g}/s"),
        "ops": FuncFormatter(lambda value, _: f"{value:g}/s"),
    }
    if formatter := formatters.get(defaults["unit"]):
        axes.yaxis.set_major_formatter(formatter)
    axes.legend(*(items[:_MOST_NAMES] for items in axes.get_legend_handles_labels()), **_LEGEND)


_LEGEND: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (-0.02, -0.1),
    "ncols": 4,
    "fontsize": 7,
    "frameon": False,
    "columnspacing": 1.0,
    "handlelength": 1.2,
}


def _draw_states(axes: Axes, _panel: dict[str, Any], series: list[tuple[str, list[float], list[float]]]) -> None:
    for row, (_, ats, values) in enumerate(series):
        for at, value in zip(ats, values, strict=True):
            axes.barh(row, 1.05, left=at, height=0.7, color=_COLOURS["green" if value == 1 else "red"])
    axes.set_yticks(range(len(series)), [name.partition(" ")[2] or name for name, _, _ in series])
    axes.invert_yaxis()


def _mark_faults(axes: Axes, recorded: dict[str, Any]) -> None:
    place = axes.get_xaxis_transform()
    for number, at in enumerate(recorded["faults"].values(), start=1):
        axes.axvline(at - recorded["began"], color="#999999", linewidth=0.5, zorder=0)
        axes.text(at - recorded["began"], 1.01, str(number), transform=place, fontsize=6, color="#777777", ha="center")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
