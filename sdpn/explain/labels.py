"""Labels of utterances beside a data directory: what probes and prototypes are compared with.

``utt2spk`` (speaker), ``spk2gender``, ``spk2age`` and ``utt2lang`` are read where they are; any other table
is a line ``utterance label`` or ``speaker label`` for each. ``phones.ctm`` and ``words.ctm`` have lines
``utterance channel start duration token`` (NIST's CTM).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, read_table
from sdpn.io.text import numbered_lines

#: Table -> name of the label.
_TABLES = {"spk2gender": "gender", "spk2age": "age group", "utt2lang": "language", "utt2channel": "channel"}
#: Age from which on a speaker is an adult.
_ADULT = 18


class Token(NamedTuple):
    """A phone or a word and when it is said.

    Attributes:
        start_s: from the start of the utterance.
        end_s: from the start of the utterance.
        token: the phone or word.
    """

    start_s: float
    end_s: float
    token: str


def read_labels_of(
    utterances: Sequence[Utterance], data: Path | None, tables: Sequence[Path] = ()
) -> dict[str, np.ndarray]:
    """Labels by name, one for each utterance; empty text where there is none.

    Args:
        utterances: the utterances.
        data: their data directory, whose tables are read where they are there.
        tables: further tables, named after their files.

    Raises:
        InputError: a table cannot be read, or is about none of the utterances.
    """
    found: dict[str, np.ndarray] = {}
    if any(utterance.speaker for utterance in utterances):
        found["speaker"] = np.array([utterance.speaker or "" for utterance in utterances])
    files = [data / name for name in _TABLES if data is not None and (data / name).is_file()]
    for path in (*files, *tables):
        table = read_table(path)
        labels = np.array([table.get(one.id, table.get(one.speaker or "", "")) for one in utterances])
        if not (labels != "").any():
            raise InputError("is about none of the utterances", path=path, hint="expected 'utterance label'")
        name = _TABLES.get(path.name, path.stem)
        found[name] = _age_groups(labels, path) if path.name == "spk2age" else labels
    return found


def read_ctm(path: Path) -> dict[str, list[Token]]:
    """Tokens of every utterance, in order.

    Raises:
        InputError: a line has another form.
    """
    found: dict[str, list[Token]] = {}
    for number, line in numbered_lines(path):
        fields = line.split()
        if not fields:
            continue
        try:
            utterance, _, start, duration, token = fields[:5]
            start_s, duration_s = float(start), float(duration)
        except ValueError:
            start_s = duration_s = -1.0
        if not (0 <= start_s < np.inf and 0 <= duration_s < np.inf):
            raise InputError(
                "is no line of a CTM", path=path, line=number,
                hint="expected 'utterance channel start duration token', in seconds",
            )  # fmt: skip
        found.setdefault(utterance, []).append(Token(start_s, start_s + duration_s, token))
    return found


def tokens_of_frames(tokens: Sequence[Token], num_frames: int, hop_s: float) -> np.ndarray:
    """The token at the centre of every frame, (T,); empty text between tokens."""
    centre_T = np.arange(num_frames) * hop_s + 0.0125
    labels: np.ndarray = np.full(num_frames, "", dtype=object)
    for token in tokens:
        labels[(centre_T >= token.start_s) & (centre_T < token.end_s)] = token.token
    return labels.astype(str)


def purity(members: Mapping[int, Sequence[str]]) -> float:
    """Share of the members that have the label of most of their group; those without one do not count."""
    right = total = 0
    for labels in members.values():
        known = [label for label in labels if label]
        if known:
            right += max(known.count(label) for label in set(known))
            total += len(known)
    return right / total if total else 0.0


def _age_groups(labels: np.ndarray, path: Path) -> np.ndarray:
    groups = []
    for label in labels.tolist():
        try:
            groups.append("" if label == "" else "adult" if float(label) >= _ADULT else "child")
        except ValueError:
            raise InputError(f"has the age {label!r}", path=path, hint="expected years") from None
    return np.array(groups)
