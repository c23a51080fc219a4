"""What a row says, and how it is printed: as a row of a Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A plain figure; ``value`` in what ``unit`` says, and in seconds usually."""

    row: str
    case: str
    value: float
    unit: str = "s"

    def as_json(self) -> dict[str, Any]:
        return {"row": self.row, "case": self.case, "value": self.value, "unit": self.unit}


@dataclass(frozen=True)
class Compared:
    """The medians of several sides; ``targets`` are the ratios to ``base`` that some of them should not exceed."""

    row: str
    case: str
    medians: Mapping[str, float]
    base: str
    targets: Mapping[str, float] = field(default_factory=dict)
    unit: str = "s"

    def ratio(self, side: str) -> float | None:
        """None where one of the two is not there, or the base too small to be measured."""
        found, base = self.medians.get(side), self.medians.get(self.base)
        return found / base if found is not None and base else None

    def as_json(self) -> dict[str, Any]:
        others = [side for side in self.medians if side != self.base]
        return {
            "row": self.row,
            "case": self.case,
            "unit": self.unit,
            "medians": dict(self.medians),
            "ratios": {side: self.ratio(side) for side in others},
            "targets": dict(self.targets),
        }


def medians(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {side: statistics.median(values) for side, values in found.items()}


def shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value * 1000:,.2f} ms" if unit == "s" else f"{value:,.2f} {unit}"


def ratio_shown(figure: Compared, side: str) -> str:
    """With the ratio that is wanted, where there is one."""
    ratio, target = figure.ratio(side), figure.targets.get(side)
    if ratio is None:
        return ""
    found = f"{ratio:.2g}" if ratio < 0.1 else f"{ratio:.2f}"
    return found if target is None else f"{found} (≤ {target:g})"


def heading(columns: Sequence[str]) -> str:
    return f"\n{_line(columns)}\n{'|---' * len(columns)}|"


def columns_of(base: str, sides: Sequence[str]) -> list[str]:
    return ["what", "case", base, *sides, *(f"{side} / {base}" for side in sides)]


def compared_line(figure: Compared, sides: Sequence[str]) -> str:
    values = [shown(figure.medians.get(side), figure.unit) for side in (figure.base, *sides)]
    return _line([figure.row, figure.case, *values, *(ratio_shown(figure, side) for side in sides)])


def plain_line(figure: Figure) -> str:
    return _line([figure.row, figure.case, shown(figure.value, figure.unit)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
