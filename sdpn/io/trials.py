"""Verification trials: pairs of utterances of the same speaker (target) or of different ones (non-target)."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.text import read_text

_BLOCK_LINES = 1 << 14


class _Layout(NamedTuple):
    """Label column, and the meaning of each label."""

    column: int
    labels: dict[str, bool]


_VOXCELEB = _Layout(0, {"1": True, "0": False})
_KALDI = _Layout(2, {"target": True, "nontarget": False})


@dataclass(frozen=True, eq=False)
class Trials:
    """Trials as arrays, N of them over M utterances.

    Attributes:
        path: the file.
        ids: the M utterance ids, each once, in no particular order.
        is_target: bool (N,).
        first: index into ``ids`` of the first utterance of each trial, int32 (N,).
        second: the same for the second utterance.
        lines: line of each trial in the file, counted from 1, integer (N,).
    """

    path: Path
    ids: list[str]
    is_target: np.ndarray
    first: np.ndarray
    second: np.ndarray
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.is_target)


def read_trials(path: str | os.PathLike[str]) -> Trials:
    """Read VoxCeleb's ``1|0 utterance utterance`` or Kaldi's ``utterance utterance target|nontarget``.

    The first line determines the format.

    Raises:
        InputError: the file is missing, empty, not UTF-8, or a line is malformed (with its number).
    """
    text = read_text(path).split("\n")
    layout: _Layout | None = None
    index: defaultdict[str, int] = defaultdict(count().__next__)
    parts: list[tuple[np.ndarray, ...]] = []
    # Column by column within blocks of lines: no Python per trial, and no million live lists, which the
    # garbage collector would walk again and again.
    for start in range(0, len(text), _BLOCK_LINES):
        rows = list(map(str.split, text[start : start + _BLOCK_LINES]))
        lines = start + 1 + np.flatnonzero(np.fromiter(map(bool, rows), dtype=bool, count=len(rows)))
        rows = [row for row in rows if row]
        if not rows:
            continue
        layout = layout or (_KALDI if rows[0][-1] in _KALDI.labels else _VOXCELEB)
        if any(len(row) != 3 for row in rows) or not layout.labels.keys() >= {
            row[layout.column] for row in rows
        }:
            raise _malformed(rows, lines, layout, path)
        columns = list(zip(*rows, strict=True))
        labels = columns.pop(layout.column)
        parts.append(
            (
                np.fromiter(map(layout.labels.__getitem__, labels), dtype=bool, count=len(rows)),
                *(
                    np.fromiter(map(index.__getitem__, ids), dtype=np.int32, count=len(rows))
                    for ids in columns
                ),
                lines,
            )
        )
    if not parts:
        raise InputError(
            "contains no trials", path=path, hint="expected '1|0 utt utt' or 'utt utt target|nontarget'"
        )
    is_target, first, second, lines = map(np.concatenate, zip(*parts, strict=True))
    return Trials(Path(path), list(index), is_target, first, second, lines)


def write_trial_scores(path: str | os.PathLike[str], trials: Trials, scores: np.ndarray) -> None:
    """Write ``utterance utterance score``, a line for each trial.

    Args:
        path: the file.
        trials: N trials.
        scores: (N,).

    Raises:
        InputError: the file cannot be written.
    """
    rows = zip(trials.first.tolist(), trials.second.tolist(), scores.tolist(), strict=True)
    atomic_write_text(
        path,
        "".join(f"{trials.ids[first]} {trials.ids[second]} {score:.6f}\n" for first, second, score in rows),
    )


def _malformed(
    rows: list[list[str]], lines: np.ndarray, layout: _Layout, path: str | os.PathLike[str]
) -> InputError:
    """The error for the first of ``rows`` that is not a trial."""
    for row, line in zip(rows, lines, strict=True):
        if len(row) != 3:
            return InputError(f"expected 3 fields, found {len(row)}", path=path, line=int(line))
        if row[layout.column] not in layout.labels:
            return InputError(
                f"expected {' or '.join(map(repr, layout.labels))}, found {row[layout.column]!r}",
                path=path,
                line=int(line),
                hint="a file is either '1|0 utt utt' or 'utt utt target|nontarget' throughout",
            )
    raise AssertionError("all rows are trials")
