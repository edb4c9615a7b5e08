"""The table that a run prints."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import ge, le


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number beside the goal that it is held to."""

    name: str
    value: float
    goal: float
    meets: Callable[[float, float], bool]
    unit: str
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.meets(self.value, self.goal)


def at_least(name: str, value: float, goal: float, unit: str = "x", detail: str = "") -> Figure:
    """A figure that must not fall under its goal."""
    return Figure(name, value, goal, ge, unit, detail)


def at_most(name: str, value: float, goal: float, unit: str, detail: str = "") -> Figure:
    """A figure that must not exceed its goal."""
    return Figure(name, value, goal, le, unit, detail)


def table(figures: list[Figure]) -> str:
    """Lay the figures out as text, a row each."""
    rows = [("measurement", "measured", "goal", "", "how it came out")]
    for figure in figures:
        sign = ">=" if figure.meets is ge else "<="
        rows.append(
            (
                figure.name,
                f"{figure.value:.3g} {figure.unit}",
                f"{sign} {figure.goal:g} {figure.unit}",
                "met" if figure.met else "MISSED",
                figure.detail,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
