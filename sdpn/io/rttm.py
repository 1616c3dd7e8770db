"""RTTM, the text format of "who spoke when".

One turn per line, times in seconds::

    SPEAKER <recording> <channel> <onset> <duration> <NA> <NA> <speaker> <NA> <NA>

The tenth field (look-ahead) was added in 2009: files with nine are read too. Channels of a recording are kept
apart only where needed (`sdpn.metrics.channels`). A time may carry the asterisk of an estimate, and a
duration may be ``<NA>``, meaning none.
Why not ``pyannote.database.util.load_rttm``: it names no line, drops the ids ``NA`` and ``None``, takes a
comment for a recording, mixes channels and drops what is not to be scored; and it takes 0.79 s for the 216
files of VoxConverse's development set, where this takes 0.04.
Source: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.text import numbered_lines, parse_seconds, require_id

if TYPE_CHECKING:
    from pyannote.core import Annotation

_log = logging.getLogger(__name__)

#: Record types that do not affect speakers or scoring.
_OTHER_TYPES = {
    *("A/P", "CB", "EDIT", "FILLER", "IP", "NO_RT_METADATA", "NON-SPEECH", "SEGMENT", "SPKR-INFO", "SU"),
}

#: Record types of regions that are not scored, and of the words that bound them.
_MARKS = {"NOSCORE", "NON-LEX", "LEXEME"}

#: Subtypes of non-lexical sounds.
_NON_LEX = {"laugh", "breath", "lipsmack", "cough", "sneeze", "other"}

#: A channel that is not given.
NO_CHANNEL = "<na>"

#: Overlaps of turns of one speaker below this are only rounding errors of onset + duration.
_ROUNDING_S = 1e-6


@dataclass(frozen=True, order=True)
class Turn:
    """A continuous stretch of speech of one speaker. Turns sort by recording, then time.

    Attributes:
        recording: recording id.
        onset_s: start, in seconds.
        duration_s: length, in seconds.
        speaker: speaker label, meaningful within its recording and channel only.
        channel: channel of the recording, as RTTM has it: usually counted from 1.
        confidence: probability that the speaker is right; None if unknown. It plays no part in comparisons.
    """

    recording: str
    onset_s: float
    duration_s: float
    speaker: str
    channel: str = "1"
    confidence: float | None = field(default=None, compare=False)

    @property
    def end_s(self) -> float:
        """End, in seconds."""
        return self.onset_s + self.duration_s


@dataclass(frozen=True, order=True)
class Mark:
    """A region of a recording that affects what is scored.

    Attributes:
        onset_s: start, in seconds.
        end_s: end, in seconds, later.
        kind: ``NOSCORE`` (not to be scored), ``NON-LEX`` (a non-lexical sound) or ``LEXEME`` (a word).
        channel: as in `Turn`.
    """

    onset_s: float
    end_s: float
    kind: str
    channel: str


@dataclass(frozen=True)
class Records:
    """The content of RTTM files.

    Attributes:
        turns: by recording, in chronological order.
        marks: by recording, in chronological order; recordings without any are omitted.
    """

    turns: dict[str, list[Turn]] = field(default_factory=dict)
    marks: dict[str, list[Mark]] = field(default_factory=dict)


def read_rttm(path: str | os.PathLike[str]) -> dict[str, list[Turn]]:
    """Read the turns of an RTTM file, on whichever channel; see `read_records`."""
    return read_records([path]).turns


def read_rttms(paths: Iterable[str | os.PathLike[str]]) -> dict[str, list[Turn]]:
    """Read the turns of many RTTM files, on whichever channel; see `read_records`."""
    return read_records(paths).turns


def lacking(turns_of: Mapping[str, object], recordings: Sequence[str]) -> str | None:
    """What to say of RTTM files that lack some of the recordings; None if they have all."""
    missing = [recording for recording in recordings if recording not in turns_of]
    if not missing:
        return None
    return f"has no recording {missing[0]!r}" + (f" (and {len(missing) - 1} more)" if missing[1:] else "")


def read_records(paths: Iterable[str | os.PathLike[str]]) -> Records:
    """Read RTTM files as one; record types that are not needed, ``;;`` comments and blank lines are skipped.

    Returns:
        turns and marks; turns of zero length are left out, with a warning in the log. A recording that only
        occurs in other records has no turns. A file without any record stands for a recording without speech
        that has the name of the file (``meeting.rttm``: ``meeting``).

    Raises:
        InputError: a file is missing or is not UTF-8; a line is malformed (with its number); two files
            contain the same channel of a recording.
    """
    together = Records()
    origin: dict[str, str | os.PathLike[str]] = {}
    for path in paths:
        records = _read(path)
        for recording, turns in records.turns.items():
            before = together.turns.get(recording)
            if before is not None and not _other_channels(before, turns):
                raise InputError(
                    f"recording {recording!r} is also in {os.fspath(origin[recording])}",
                    path=path,
                    hint="every recording may occur in one file only",
                )
            together.turns[recording] = sorted([*(before or ()), *turns])
            origin[recording] = path
        for recording, marks in records.marks.items():
            together.marks[recording] = sorted([*together.marks.get(recording, ()), *marks])
    return together


def _other_channels(before: Sequence[Turn], turns: Sequence[Turn]) -> bool:
    """Whether both have turns, on different channels."""
    channels = [{turn.channel.lower() for turn in side} for side in (before, turns)]
    return all(channels) and channels[0].isdisjoint(channels[1])


def _read(path: str | os.PathLike[str]) -> Records:
    records = Records()
    empty: list[int] = []  # lines of turns without length
    for number, line in numbered_lines(path):
        if line.startswith(";;"):
            continue
        fields = line.split()
        kind = fields[0]
        if kind in _OTHER_TYPES:
            if len(fields) > 1:
                records.turns.setdefault(fields[1], [])
            continue
        if kind not in ("SPEAKER", *_MARKS):
            raise InputError(
                f"expected an RTTM record such as 'SPEAKER', found {fields[0]!r}", path=path, line=number
            )
        if len(fields) not in (9, 10):
            raise InputError(
                f"a {kind} record has 9 or 10 fields, found {len(fields)}",
                path=path,
                line=number,
                hint=f"{kind} recording 1 onset duration <NA> <NA> speaker <NA> <NA>; ids may not contain "
                "blanks",
            )
        turns = records.turns.setdefault(fields[1], [])
        onset_s = parse_seconds(fields[3].replace("*", "", 1), "onset", path=path, line=number)
        duration = "0" if fields[4].lower() == "<na>" else fields[4].replace("*", "", 1)
        duration_s = parse_seconds(duration, "duration", path=path, line=number)
        if kind == "SPEAKER":
            if duration_s > 0:
                turns.append(Turn(fields[1], onset_s, duration_s, fields[7], fields[2]))
            else:
                empty.append(number)
        elif kind == "NON-LEX" and fields[6].lower() not in _NON_LEX:
            raise InputError(
                f"{fields[6]!r} is not a subtype of NON-LEX",
                path=path,
                line=number,
                hint=f"expected one of: {', '.join(sorted(_NON_LEX))}",
            )
        elif duration_s > 0:
            mark = Mark(onset_s, onset_s + duration_s, kind, fields[2])
            records.marks.setdefault(fields[1], []).append(mark)
    if empty:
        _log.warning("%s:%d: ignored %d turns of zero length", path, empty[0], len(empty))
    for turns in records.turns.values():
        turns.sort()
    if not records.turns:
        records.turns[Path(path).stem] = []
    return records


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

    Both ends of a turn are rounded, so that adjacent turns stay adjacent; a turn that becomes empty is
    omitted.

    Raises:
        InputError: an id is empty or contains white space, or a time is negative or not finite.
    """
    turns = sorted(turns)
    for turn in turns:
        require_id(turn.recording, "recording", path=path)
        require_id(turn.speaker, "speaker", path=path)
        require_id(turn.channel, "channel", path=path)
        if not (0 <= turn.onset_s <= turn.end_s < float("inf")):
            raise InputError(f"a turn runs from {turn.onset_s} to {turn.end_s} s", path=path)
    lines = [
        f"SPEAKER {turn.recording} {turn.channel} {turn.onset_s:.3f} {turn.duration_s:.3f} "
        f"<NA> <NA> {turn.speaker} <NA> <NA>\n"
        for turn in rounded(turns)
    ]
    atomic_write_text(path, "".join(lines))


def rounded(turns: Iterable[Turn]) -> list[Turn]:
    """The turns with both ends in whole milliseconds, so that adjacent turns stay adjacent; in order.

    A turn that becomes empty is left out.
    """
    found = []
    for turn in sorted(turns):
        onset_ms, end_ms = _milliseconds(turn.onset_s), _milliseconds(turn.end_s)
        if end_ms > onset_ms:
            found.append(replace(turn, onset_s=onset_ms / 1000, duration_s=(end_ms - onset_ms) / 1000))
    return found


def _milliseconds(seconds: float) -> int:
    """Rounded; half a millisecond is rounded the same way as an onset and as an end."""
    return round(round(seconds * 1000, 3))


def to_annotation(turns: Iterable[Turn], recording: str | None = None) -> Annotation:
    """Convert the turns of one recording to pyannote's type, which a notebook shows as a timeline.

    Overlapping turns of one speaker are merged, since pyannote.metrics would count that speaker twice. Turns
    that only touch stay separate.

    Args:
        turns: the turns.
        recording: ``uri`` of the result; default: that of the turns, or None without any.
    """
    from pyannote.core import Segment

    from sdpn.io.annotation import ShownAnnotation

    turns = sorted(turns)
    annotation = ShownAnnotation(uri=recording or (turns[0].recording if turns else None))
    for track, turn in enumerate(merge_overlaps(turns)):
        annotation[Segment(turn.onset_s, turn.end_s), track] = turn.speaker
    return annotation


def from_annotation(
    annotation: Annotation,
    recording: str | None = None,
    *,
    channel: int = 1,
    confidence: Mapping[int, float] | None = None,
) -> list[Turn]:
    """Convert pyannote's type to turns in the order of time.

    Args:
        annotation: labels may be of any type; their text is the speaker.
        recording: recording id; default: the annotation's ``uri``.
        channel: of all turns, counted from 1.
        confidence: of the turns, by their track, where tracks are numbers.

    Raises:
        ValueError: neither gives the recording.
    """
    recording = recording or annotation.uri
    if not recording:
        raise ValueError("the annotation has no uri: give its recording")
    return sorted(
        Turn(
            recording,
            segment.start,
            segment.duration,
            str(label),
            str(channel),
            None if confidence is None else confidence[track],
        )
        for segment, track, label in annotation.itertracks(yield_label=True)
    )


def _mean_confidence(first: Turn, second: Turn) -> float | None:
    """Of two turns, by their length; None if that of one is unknown."""
    if first.confidence is None or second.confidence is None:
        return None
    total_s = first.duration_s + second.duration_s
    return (first.confidence * first.duration_s + second.confidence * second.duration_s) / total_s


def merge_overlaps(turns: Sequence[Turn], *, pause_s: float = -_ROUNDING_S) -> list[Turn]:
    """Join turns of one speaker, recording and channel that overlap.

    Args:
        turns: sorted.
        pause_s: also merge turns with a pause below this.

    Returns:
        the turns, sorted.
    """
    merged: list[Turn] = []
    last: dict[tuple[str, str, str], int] = {}
    for turn in turns:
        key = (turn.recording, turn.channel, turn.speaker)
        at = last.get(key)
        if at is not None and turn.onset_s < merged[at].end_s + pause_s:
            before = merged[at]
            merged[at] = replace(
                before,
                duration_s=max(turn.end_s, before.end_s) - before.onset_s,
                confidence=_mean_confidence(before, turn),
            )
        else:
            last[key] = len(merged)
            merged.append(turn)
    return sorted(merged)
