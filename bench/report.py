"""The table that a run prints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import ge, le


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, beside its goal when it has one."""

    name: str
    value: float
    unit: str
    detail: str = ""
    goal: float | None = None
    meets: Callable[[float, float], bool] = ge

    @property
    def met(self) -> bool:
        """Whether the goal is reached; a figure without one misses nothing."""
        return self.goal is None or self.meets(self.value, self.goal)


def fact(name: str, value: float, unit: str = "x", detail: str = "") -> Figure:
    """A figure without a goal."""
    return Figure(name, value, unit, detail)


def at_least(name: str, value: float, goal: float, unit: str = "x", detail: str = "") -> Figure:
    """A figure that must not fall under its goal."""
    return Figure(name, value, unit, detail, goal, ge)


def at_most(name: str, value: float, goal: float, unit: str, detail: str = "") -> Figure:
    """A figure that must not exceed its goal."""
    return Figure(name, value, unit, detail, goal, le)


def worst(runs: Sequence[Sequence[Figure]]) -> list[Figure]:
    """The worst value of each figure over several runs of one case, and all the values beside it."""
    figures = []
    for same in zip(*runs, strict=True):
        pick = min if same[0].meets is ge else max
        values = " ".join(f"{figure.value:.3g}" for figure in same)
        met = sum(figure.met for figure in same)
        detail = f"met in {met} of {len(same)}: {values}" if same[0].goal is not None else values
        figures.append(replace(pick(same, key=lambda figure: figure.value), detail=detail))
    return figures


def table(figures: Sequence[Figure]) -> str:
    """Lay the figures out as text, a row each."""
    rows = [("measurement", "measured", "goal", "", "details")]
    for figure in figures:
        goal = verdict = "-"
        if figure.goal is not None:
            goal = f"{'>=' if figure.meets is ge else '<='} {figure.goal:g} {figure.unit}"
            verdict = "met" if figure.met else "MISSED"
        rows.append((figure.name, f"{figure.value:.3g} {figure.unit}", goal, verdict, figure.detail))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
