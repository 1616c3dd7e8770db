"""The table of trials: one JSON line for each, which a run that was stopped goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.json_text import parse_json
from sdpn.io.parsing import parsing
from sdpn.io.text import read_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

_SCHEMA = "sdpn.tune-trials/1"


@dataclass(frozen=True)
class Trial:
    """What some settings gave.

    Attributes:
        settings: fields of the clusterer that differ from its defaults.
        error_s: seconds of missed, false and confused speech in each recording.
        total_s: seconds of reference speech in each.
        counts: number of speakers found in each.
    """

    settings: dict[str, object]
    error_s: tuple[float, ...]
    total_s: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, line: dict[str, Any]) -> Trial:
        """From its line of the table."""
        return cls(
            settings=dict(line["settings"]),
            error_s=tuple(map(float, line["error_s"])),
            total_s=tuple(map(float, line["total_s"])),
            counts=tuple(map(int, line["counts"])),
        )

    def error_rate(self, but: int | None = None) -> float:
        """DER over all recordings, or over all but one."""
        chosen = np.arange(len(self.error_s)) != (-1 if but is None else but)
        return float(np.sum(np.array(self.error_s)[chosen]) / np.sum(np.array(self.total_s)[chosen]))


def read_trials_table(path: Path, made_from: str, of: Callable[[dict[str, Any]], T]) -> list[T]:
    """The trials that are finished; none if there is no file.

    Args:
        path: the file.
        made_from: digest of all that the figures depend on but the settings.
        of: makes a trial of its line.

    Raises:
        InputError: it was made from something else, or is no table of trials.
    """
    if not path.exists():
        return []
    lines, hint = read_text(path).splitlines(), "choose another --out, or --force to start again"
    with parsing(path, "is no table of trials", hint=hint):
        head = parse_json(lines[0] if lines else "", "table of trials", path=path, line=1, hint=hint)
        if head.get("schema") != _SCHEMA:
            raise InputError("is no table of trials", path=path, line=1, hint=hint)
        if head.get("made_from") != made_from:
            raise InputError(
                "is of other data, another model, or another command", path=path, line=1, hint=hint
            )
        return [
            of(parse_json(line, "trial", path=path, line=number, hint=hint))
            for number, line in enumerate(lines[1:], start=2)
        ]


def write_trials_table(path: Path, made_from: str, trials: Sequence[DataclassInstance]) -> None:
    """Write all trials so far; the file is always whole."""
    lines: list[dict[str, Any]] = [{"schema": _SCHEMA, "made_from": made_from}, *map(asdict, trials)]
    atomic_write_text(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))
