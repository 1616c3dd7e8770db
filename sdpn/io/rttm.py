"""RTTM, the text format of "who spoke when".

One turn per line, times in seconds::

    SPEAKER <recording> <channel> <onset> <duration> <NA> <NA> <speaker> <NA> <NA>

The tenth field (look-ahead) was added in 2009: files with nine are read too. The channel is ignored.
Source: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.text import numbered_lines, parse_seconds, require_id

if TYPE_CHECKING:
    from pyannote.core import Annotation

_log = logging.getLogger(__name__)

#: Record types that say nothing about turns.
_OTHER_TYPES = {
    *("A/P", "CB", "EDIT", "FILLER", "IP", "LEXEME", "NO_RT_METADATA"),
    *("NON-LEX", "NON-SPEECH", "NOSCORE", "SEGMENT", "SPKR-INFO", "SU"),
}

#: Turns of one speaker that overlap by less only do so in the rounding of onset + duration.
_ROUNDING_S = 1e-6


@dataclass(frozen=True, order=True)
class Turn:
    """One stretch of speech of one speaker. Turns sort by recording, then time.

    Attributes:
        recording: recording id.
        onset_s: start, in seconds.
        duration_s: length, in seconds.
        speaker: speaker label, meaningful within its recording only.
        channel: of the recording, counted from 1 as everything in this format.
    """

    recording: str
    onset_s: float
    duration_s: float
    speaker: str
    channel: int = 1

    @property
    def end_s(self) -> float:
        """End, in seconds."""
        return self.onset_s + self.duration_s


def read_rttm(path: str | os.PathLike[str]) -> dict[str, list[Turn]]:
    """Read the turns of an RTTM file; other record types, ``;;`` comments and blank lines are skipped.

    Returns:
        turns by recording, in the order of time; turns of zero length are left out, with a warning in the
        log. A recording that only other records name has none. A file without any record stands for one
        recording without speech that is called like the file (``meeting.rttm``: ``meeting``).

    Raises:
        InputError: the file is missing, is not UTF-8, or a line is malformed (with its number).
    """
    recordings: dict[str, list[Turn]] = {}
    empty: list[int] = []  # lines of turns without length
    for number, line in numbered_lines(path):
        if line.startswith(";;"):
            continue
        fields = line.split()
        if fields[0] in _OTHER_TYPES:
            if len(fields) > 1:
                recordings.setdefault(fields[1], [])
            continue
        if fields[0] != "SPEAKER":
            raise InputError(
                f"expected an RTTM record such as 'SPEAKER', found {fields[0]!r}", path=path, line=number
            )
        if len(fields) not in (9, 10):
            raise InputError(
                f"a SPEAKER record has 9 or 10 fields, found {len(fields)}",
                path=path,
                line=number,
                hint="SPEAKER recording 1 onset duration <NA> <NA> speaker <NA> <NA>; ids hold no blanks",
            )
        onset_s = parse_seconds(fields[3], "onset", path=path, line=number)
        duration_s = parse_seconds(fields[4], "duration", path=path, line=number)
        turns = recordings.setdefault(fields[1], [])
        if duration_s > 0:
            turns.append(Turn(fields[1], onset_s, duration_s, fields[7]))
        else:
            empty.append(number)
    if empty:
        _log.warning("%s:%d: %d turns of zero length are left out", path, empty[0], len(empty))
    for turns in recordings.values():
        turns.sort()
    return recordings or {Path(path).stem: []}


def read_rttms(paths: Iterable[str | os.PathLike[str]]) -> dict[str, list[Turn]]:
    """Read many RTTM files as one.

    Returns:
        turns by recording, as `read_rttm`.

    Raises:
        InputError: as `read_rttm`, and when two files hold the same recording.
    """
    recordings: dict[str, list[Turn]] = {}
    origin: dict[str, str | os.PathLike[str]] = {}
    for path in paths:
        for recording, turns in read_rttm(path).items():
            if recording in recordings:
                raise InputError(
                    f"recording {recording!r} is also in {os.fspath(origin[recording])}",
                    path=path,
                    hint="give each recording once",
                )
            recordings[recording] = turns
            origin[recording] = path
    return recordings


def write_rttm(path: str | os.PathLike[str], recording: str, turns: Iterable[Turn]) -> None:
    """Write one recording's turns as `write_rttms` does.

    Without turns the file is empty, which is valid RTTM for "nobody spoke".

    Raises:
        InputError: as `write_rttms`.
        ValueError: a turn belongs to another recording.
    """
    require_id(recording, "recording", path=path)
    turns = list(turns)
    for turn in turns:
        if turn.recording != recording:
            raise ValueError(f"a turn of {turn.recording!r} among those of {recording!r}")
    write_rttms(path, turns)


def write_rttms(path: str | os.PathLike[str], turns: Iterable[Turn]) -> None:
    """Write the turns of any recordings, sorted, with 10 fields and milliseconds.

    Both ends of a turn are rounded, so that turns that touch still touch; a turn that is empty then is
    left out.

    Raises:
        InputError: an id is empty or holds white space, or a time is negative or not finite.
    """
    lines = []
    for turn in sorted(turns):
        require_id(turn.recording, "recording", path=path)
        require_id(turn.speaker, "speaker", path=path)
        if not (0 <= turn.onset_s <= turn.end_s < float("inf")):
            raise InputError(f"a turn runs from {turn.onset_s} to {turn.end_s} s", path=path)
        onset_ms, end_ms = _milliseconds(turn.onset_s), _milliseconds(turn.end_s)
        if end_ms > onset_ms:
            times = f"{onset_ms / 1000:.3f} {(end_ms - onset_ms) / 1000:.3f}"
            lines.append(
                f"SPEAKER {turn.recording} {turn.channel} {times} <NA> <NA> {turn.speaker} <NA> <NA>\n"
            )
    atomic_write_text(path, "".join(lines))


def _milliseconds(seconds: float) -> int:
    """Rounded; half a millisecond goes the same way whether it was computed as an onset or as an end."""
    return round(round(seconds * 1000, 3))


def to_annotation(turns: Iterable[Turn], recording: str | None = None) -> Annotation:
    """Convert the turns of one recording to pyannote's type.

    A speaker is one voice: where turns of one speaker overlap, they become one, since pyannote.metrics
    would count him twice. Turns that only touch stay apart.

    Args:
        turns: the turns.
        recording: ``uri`` of the result; default: that of the turns, or None without any.
    """
    from pyannote.core import Annotation, Segment

    turns = sorted(turns)
    annotation = Annotation(uri=recording or (turns[0].recording if turns else None))
    for track, turn in enumerate(merge_overlaps(turns)):
        annotation[Segment(turn.onset_s, turn.end_s), track] = turn.speaker
    return annotation


def from_annotation(annotation: Annotation, recording: str | None = None, *, channel: int = 1) -> list[Turn]:
    """Convert pyannote's type to turns in the order of time.

    Args:
        annotation: labels may be of any type; their text is the speaker.
        recording: recording id; default: the annotation's ``uri``.
        channel: of all turns, counted from 1.

    Raises:
        ValueError: neither names the recording.
    """
    recording = recording or annotation.uri
    if not recording:
        raise ValueError("the annotation has no uri: name its recording")
    return sorted(
        Turn(recording, segment.start, segment.duration, str(label), channel)
        for segment, _, label in annotation.itertracks(yield_label=True)
    )


def merge_overlaps(turns: Sequence[Turn], *, pause_s: float = -_ROUNDING_S) -> list[Turn]:
    """Join turns of one speaker and recording that overlap.

    Args:
        turns: sorted.
        pause_s: join those that are less than this apart, too.

    Returns:
        the turns, sorted.
    """
    merged: list[Turn] = []
    last: dict[tuple[str, str], int] = {}
    for turn in turns:
        key = (turn.recording, turn.speaker)
        at = last.get(key)
        if at is not None and turn.onset_s < merged[at].end_s + pause_s:
            before = merged[at]
            if turn.end_s > before.end_s:
                merged[at] = replace(before, duration_s=turn.end_s - before.onset_s)
        else:
            last[key] = len(merged)
            merged.append(turn)
    return sorted(merged)
