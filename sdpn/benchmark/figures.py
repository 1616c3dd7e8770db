"""The figures of a benchmark, as rows and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Value:
    """A figure of one model.

    Attributes:
        value: the figure.
        low: lower end of its interval; None where there is none.
        high: upper end.
        seeds: the figure of each seed of the conversations.
        difference: to the first model; None for the first.
        difference_low: lower end of the interval of the difference.
        difference_high: upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None
    seeds: tuple[float, ...] = ()
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure of all models.

    Attributes:
        part: of the benchmark.
        corpus: what it was measured on.
        condition: how that was recorded.
        figure: what it is, with its unit.
        values: one for each model; None where the model has no such figure.
    """

    part: str
    corpus: str
    condition: str
    figure: str
    values: tuple[Value | None, ...]


def table_header(names: Sequence[str]) -> list[str]:
    """Titles of the columns of `table_row`, for models of these names."""
    header = ["figure", "corpus", "condition", names[0]]
    for name in names[1:]:
        header += [name, f"less {names[0]}"]
    return header


def table_row(row: Row) -> list[str]:
    """A row as text: figures with their intervals, and differences to the first model with theirs."""
    cells = [row.figure, row.corpus, row.condition]
    for number, value in enumerate(row.values):
        cells.append("-" if value is None else with_interval(value.value, value.low, value.high))
        if number:
            difference = None if value is None else value.difference
            cells.append(
                "-"
                if value is None or difference is None
                else with_interval(difference, value.difference_low, value.difference_high, signed=True)
            )
    return cells


def with_interval(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """``6.42 (4.91 to 7.86)``."""
    sign = "+" if signed else ""
    text = f"{value:{sign}.2f}"
    return text if low is None or high is None else f"{text} ({low:{sign}.2f} to {high:{sign}.2f})"
