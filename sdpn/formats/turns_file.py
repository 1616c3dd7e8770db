"""Turns of one recording from a file of ``sdpn diarize``: JSON, with confidence, or RTTM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.formats.json_document import SCHEMA
from sdpn.io.json_text import read_json
from sdpn.io.parsing import parsing
from sdpn.io.rttm import Turn, read_rttm

_WHAT = "JSON document of 'sdpn diarize --format json'"


@dataclass(frozen=True, kw_only=True)
class RecordingTurns:
    """Who spoke when.

    Attributes:
        recording: its id.
        turns: in order of time; they may overlap.
        duration_s: length of the recording; None where the file does not say.
    """

    recording: str
    turns: list[Turn]
    duration_s: float | None


def read_turns(path: Path, recording: str | None = None) -> RecordingTurns:
    """Read the turns of a recording.

    Args:
        path: JSON document or RTTM.
        recording: which, where an RTTM file has several; None where it has one.

    Raises:
        InputError: the file is missing or damaged, or does not have the recording.
    """
    if path.suffix.lower() == ".json":
        return read_document(path)[0]
    turns_of = read_rttm(path)
    if recording is None and len(turns_of) > 1:
        raise InputError(f"has {len(turns_of)} recordings", path=path, hint="choose one: --recording NAME")
    name = next(iter(turns_of)) if recording is None else recording
    if name not in turns_of:
        raise InputError(
            f"has no recording {name!r}", path=path, hint=f"it has {', '.join(list(turns_of)[:5])}"
        )
    return RecordingTurns(recording=name, turns=turns_of[name], duration_s=None)


def read_document(path: Path) -> tuple[RecordingTurns, dict[str, Any]]:
    """Read a JSON document: its turns, and all of it.

    Raises:
        InputError: it is missing, damaged or another kind of document.
    """
    document = read_json(path, _WHAT)
    if document.get("schema") != SCHEMA:
        raise InputError(
            f"is not a {_WHAT}: its schema is {document.get('schema')!r}, not {SCHEMA!r}", path=path
        )
    with parsing(path, f"is a damaged {_WHAT}", hint="diarize again: sdpn diarize --format json"):
        name, duration_s = document["recording"], float(document["duration_s"])
        if not isinstance(name, str) or not 0 <= duration_s < math.inf:
            raise ValueError(f"recording {name!r} of {duration_s} s")
        return (
            RecordingTurns(
                recording=name,
                turns=sorted(_turn(name, row) for row in document["turns"]),
                duration_s=duration_s,
            ),
            document,
        )


def _turn(recording: str, row: dict[str, Any]) -> Turn:
    start_s, end_s, speaker = float(row["start_s"]), float(row["end_s"]), row["speaker"]
    confidence = row.get("confidence")
    if not (0 <= start_s < end_s < math.inf) or not isinstance(speaker, str):
        raise ValueError(f"a turn of {speaker!r} from {start_s} to {end_s} s")
    if confidence is not None and not 0 <= float(confidence) <= 1:
        raise ValueError(f"a confidence of {confidence!r}")
    return Turn(
        recording,
        start_s,
        end_s - start_s,
        speaker,
        str(row.get("channel", "1")),
        None if confidence is None else float(confidence),
    )
