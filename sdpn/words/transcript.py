"""Words with times, from the files of speech recognisers.

Read are the JSON files of whisper, whisperX, faster-whisper, whisper.cpp and NeMo, SRT and WebVTT. Where only
segments have times, their words share the time by the number of their letters, and the transcript says so.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sdpn.errors import InputError
from sdpn.io.json_text import parse_json
from sdpn.io.parsing import parsing
from sdpn.io.text import read_text

#: What times in a file are counted in.
Unit = Literal["s", "ms"]

_WHAT = "transcript with times"
_HINT = (
    "expected JSON of whisper (--word_timestamps True), whisperX, faster-whisper, whisper.cpp or NeMo, or "
    "SRT or WebVTT"
)

#: Keys of words and of times, by any of these recognisers.
_TEXT, _START, _END = (
    ("word", "text", "char"),
    ("start", "start_time", "start_s"),
    ("end", "end_time", "end_s"),
)

#: A word's time inside a WebVTT cue: ``<00:00:01.500>``; other markup: ``<c>``, ``<v Anna>``, ``{\an8}``.
_CUE_TIME = re.compile(r"<((?:\d+:)?\d{1,2}:\d{2}\.\d{3})>")
_MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_ARROW = re.compile(r"^\s*(\S+)\s+-->\s+(\S+)")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})")

#: A word shorter than this has no length that turns could be compared with; it gets as much, in seconds.
_LEAST_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word and when it is said.

    Attributes:
        start_s: its start, in seconds.
        end_s: its end, later.
        text: without blanks around it.
        segment: number of the recogniser's segment (or cue) that it is in.
    """

    start_s: float
    end_s: float
    text: str
    segment: int


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The words of a recording.

    Attributes:
        words: in order of their start.
        estimated: how many of them have no times of their own, but share those of their segment.
        recording: name of the recording, where the file says so.
    """

    words: Sequence[Word]
    estimated: int
    recording: str | None

    @property
    def end_s(self) -> float:
        """End of the last word; 0 without words."""
        return max((word.end_s for word in self.words), default=0.0)

    @property
    def overlapping(self) -> int:
        """Words of which more than half lies within the word before."""
        return sum(
            min(before.end_s, word.end_s) - word.start_s > 0.5 * (word.end_s - word.start_s)
            for before, word in zip(self.words[:-1], self.words[1:], strict=True)
        )


@dataclass(frozen=True)
class _Timed:
    """A word or a segment as it stands in a file; a time may be missing."""

    start_s: float | None
    end_s: float | None
    text: str


def read_transcript(path: Path, *, unit: Unit = "s", recording: str | None = None) -> Transcript:
    """Read a transcript.

    Args:
        path: the file; what is in it decides on the format, not its name.
        unit: what the times of JSON files are counted in; subtitles say so themselves.
        recording: name of the recording, which chooses a line of a NeMo manifest.

    Raises:
        InputError: the file is missing or damaged, has no words or no times, or a time is impossible.
    """
    text = read_text(path)
    first = text.lstrip()[:1]
    if first in ("{", "["):
        document = _document(text, path, recording)
        with parsing(path, f"is not a {_WHAT}", hint=_HINT):
            segments = _segments(document)
            name = document.get("audio_filepath")
        scale = 0.001 if unit == "ms" else 1.0
    elif "-->" in text:
        segments, name, scale = _cues(text, path), None, 1.0
    else:
        raise InputError(f"is not a {_WHAT}", path=path, hint=_HINT)
    words, estimated = _words(segments, path, scale)
    if not words:
        raise InputError("holds no words", path=path, hint="is it the transcript of this recording?")
    words.sort(key=lambda word: (word.start_s, word.end_s))
    return Transcript(
        words=words,
        estimated=estimated,
        recording=Path(name).stem if isinstance(name, str) and name else None,
    )


def _document(text: str, path: Path, recording: str | None) -> dict[str, Any]:
    """The JSON object; a list becomes ``segments``, and of several lines (NeMo) the recording's is taken."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and all(
        line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines
    ):
        rows = [
            parse_json(line, _WHAT, path=path, line=number)
            for number, line in enumerate(text.split("\n"), start=1)
            if line.strip()
        ]
        stems = [Path(str(row.get("audio_filepath", ""))).stem for row in rows]
        fitting = stems.count(recording or "")
        if fitting != 1:
            raise InputError(
                f"has {len(rows)} transcripts, and {fitting} of them are of {recording!r}",
                path=path,
                hint=f"it has those of {', '.join(map(repr, stems[:5]))}",
            )
        return rows[stems.index(recording or "")]
    if text.lstrip().startswith("["):
        text = '{"segments": ' + text.strip() + "}"
    return parse_json(text, _WHAT, path=path, hint=_HINT)


def _segments(document: Mapping[str, Any]) -> list[tuple[_Timed, list[_Timed]]]:
    """Segments and their words, which may be none."""
    timestamps = document.get("timestamp", document.get("timestamps", document.get("timestep")))
    if isinstance(timestamps, dict):  # NeMo
        document = {"words": timestamps.get("word", []), "segments": timestamps.get("segment", [])}
        return _one_segment(document["words"]) or [(_timed(row), []) for row in document["segments"]]
    for key in ("word_timestamps", "words", "word_segments"):
        if isinstance(document.get(key), list) and document[key] and "segments" not in document:
            return _one_segment(document[key])
    if isinstance(document.get("transcription"), list):  # whisper.cpp, in milliseconds whatever the unit
        return [(_whisper_cpp(row), []) for row in document["transcription"]]
    rows = document["segments"]
    if rows and all(isinstance(row, dict) and "word" in row for row in rows):  # a bare list of words
        return _one_segment(rows)
    return [(_timed(row), [_timed(word) for word in row.get("words") or []]) for row in rows]


def _one_segment(rows: Iterable[Mapping[str, Any]]) -> list[tuple[_Timed, list[_Timed]]]:
    words = [_timed(row) for row in rows]
    starts = [word.start_s for word in words if word.start_s is not None]
    ends = [word.end_s for word in words if word.end_s is not None]
    whole = _Timed(min(starts, default=None), max(ends, default=None), " ".join(word.text for word in words))
    return [(whole, words)] if words else []


def _timed(row: Mapping[str, Any]) -> _Timed:
    if not isinstance(row, dict):
        raise ValueError(f"a word is {row!r}, not an object")
    text = next((row[key] for key in _TEXT if key in row), None)
    if not isinstance(text, str):
        raise ValueError("a word or segment has no text")
    start, end = (
        next((row[key] for key in keys if row.get(key) is not None), None) for keys in (_START, _END)
    )
    return _Timed(_number(start), _number(end), text)


def _whisper_cpp(row: Mapping[str, Any]) -> _Timed:
    return _Timed(float(row["offsets"]["from"]) / 1000, float(row["offsets"]["to"]) / 1000, str(row["text"]))


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not a time")
    return float(value)


def _cues(text: str, path: Path) -> list[tuple[_Timed, list[_Timed]]]:
    """Cues of SRT or WebVTT, with the words whose times WebVTT gives inside of them.

    By hand: webvtt-py drops the times of words.
    """
    found: list[tuple[_Timed, list[_Timed]]] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if "-->" not in line:
            continue
        match = _ARROW.match(line)
        times = None if match is None else [_seconds(match[1]), _seconds(match[2])]
        if times is None or None in times:
            raise InputError(
                f"expected 'start --> end' of a cue, found {line.strip()[:60]!r}",
                path=path,
                line=number,
                hint="times are written as 00:01:02,345 (SRT) or 00:01:02.345 (WebVTT)",
            )
        body = []
        for following in lines[number:]:
            if not following.strip() or "-->" in following:
                break
            body.append(following)
        if body and body[-1].strip().isdecimal() and len(body) > 1 and _follows(lines, number + len(body)):
            body.pop()  # the number of the next cue, where no blank line precedes it
        cue = " ".join(body)
        found.append((_Timed(times[0], times[1], _plain(cue)), _cue_words(cue, times[0], times[1])))
    return found


def _follows(lines: Sequence[str], index: int) -> bool:
    """Whether a cue begins at a line."""
    return index < len(lines) and "-->" in lines[index]


def _cue_words(cue: str, start_s: float | None, end_s: float | None) -> list[_Timed]:
    """Words of a cue that has times of words inside; none otherwise."""
    parts = _CUE_TIME.split(cue)
    if len(parts) < 3:
        return []
    times = [start_s, *map(_seconds, parts[1::2]), end_s]
    words = [_Timed(times[k], times[k + 1], _plain(part)) for k, part in enumerate(parts[::2])]
    return [word for word in words if word.text]


def _plain(text: str) -> str:
    return " ".join(html.unescape(_MARKUP.sub("", text)).split())


def _seconds(clock: str) -> float | None:
    match = _CLOCK.fullmatch(clock)
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + int(fraction.ljust(3, "0")) / 1000


def _words(
    segments: Sequence[tuple[_Timed, list[_Timed]]], path: Path, scale: float
) -> tuple[list[Word], int]:
    """All words, and how many of them have estimated times."""
    found: list[Word] = []
    estimated = 0
    for number, (segment, words) in enumerate(segments):
        if not words:
            words = [_Timed(None, None, text) for text in segment.text.split()]
        if not words:
            continue
        untimed = [word.start_s is None or word.end_s is None for word in words]
        estimated += sum(untimed)
        for word in _filled(words, segment, path):
            text = " ".join(word.text.split())
            if not text:
                continue
            assert word.start_s is not None and word.end_s is not None
            start_s, end_s = word.start_s * scale, word.end_s * scale
            if not (0 <= start_s <= end_s < math.inf):
                raise InputError(
                    f"the word {text[:40]!r} lasts from {start_s:g} to {end_s:g} s",
                    path=path,
                    hint="a start must be at least 0, and the end not before it",
                )
            end_s = max(end_s, start_s + _LEAST_S)
            found.append(Word(start_s=start_s, end_s=end_s, text=text, segment=number))
    return found, estimated


def _filled(words: Sequence[_Timed], segment: _Timed, path: Path) -> list[_Timed]:
    """The words with the missing times shared out, between those that are known and the segment's ends."""
    filled = list(words)
    at = 0
    while at < len(words):
        if words[at].start_s is not None and words[at].end_s is not None:
            at += 1
            continue
        last = at
        while last + 1 < len(words) and (words[last + 1].start_s is None or words[last + 1].end_s is None):
            last += 1
        begin = words[at].start_s if words[at].start_s is not None else None
        begin = begin if begin is not None else (filled[at - 1].end_s if at else segment.start_s)
        end = words[last + 1].start_s if last + 1 < len(words) else segment.end_s
        if begin is None or end is None:
            raise InputError(
                f"the word {words[at].text.strip()[:40]!r} has no times, and neither has what surrounds it",
                path=path,
                hint="let the recogniser write times: whisper --word_timestamps True, whisperX with "
                "alignment, NeMo with timestamps=True",
            )
        end = max(begin, end)
        letters = [max(len(word.text.strip()), 1) for word in words[at : last + 1]]
        edges = [begin + (end - begin) * sum(letters[:k]) / sum(letters) for k in range(len(letters) + 1)]
        for k in range(len(letters)):
            filled[at + k] = _Timed(edges[k], edges[k + 1], words[at + k].text)
        at = last + 1
    return filled
