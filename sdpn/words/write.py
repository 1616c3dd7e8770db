"""Words with speakers as files: JSON, text, subtitles, a table, and STM, which scoring tools read."""

from __future__ import annotations

import csv
import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from webvtt import WebVTT

from sdpn.formats.names import as_field, fitting_names, one_line, without_markup
from sdpn.formats.registry import chosen_formats
from sdpn.formats.subtitles import subtitle_clock, subtitle_cue, write_srt_cues
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.words.attribute import SpokenWord

#: The version of the JSON document.
SCHEMA = "sdpn.words/1"

#: Shown for words whose speaker is not sure.
UNSURE = "?"

#: A passage ends after a pause of this; a cue of subtitles also when it is as long as a screen takes.
_PAUSE_S, _CUE_S, _CUE_LETTERS = 1.5, 6.0, 84


@dataclass(frozen=True, kw_only=True)
class SpokenText:
    """The words of a recording with their speakers.

    Attributes:
        recording: its id.
        words: in order of time.
        details: further keys of the JSON document.
    """

    recording: str
    words: Sequence[SpokenWord]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Passage:
    """Words in a row of one speaker; ``speaker`` is None where it is not sure."""

    speaker: str | None
    words: Sequence[SpokenWord]

    @property
    def start_s(self) -> float:
        """Start of the first word."""
        return self.words[0].word.start_s

    @property
    def end_s(self) -> float:
        """End of the last to end."""
        return max(each.word.end_s for each in self.words)

    @property
    def text(self) -> str:
        """The words."""
        return " ".join(each.word.text for each in self.words)


def passages(words: Sequence[SpokenWord], *, cues: bool = False) -> list[Passage]:
    """Cut words where the speaker changes or pauses, and for subtitles where a cue is full."""
    found: list[list[SpokenWord]] = []
    for word in words:
        last = found[-1] if found else None
        if last is None or last[-1].speaker != word.speaker:
            found.append([word])
            continue
        ends = word.word.start_s - last[-1].word.end_s > _PAUSE_S
        if cues:
            letters = sum(len(each.word.text) + 1 for each in last) + len(word.word.text)
            ends |= word.word.end_s - last[0].word.start_s > _CUE_S or letters > _CUE_LETTERS
        if ends:
            found.append([word])
        else:
            last.append(word)
    return [Passage(each[0].speaker, each) for each in found]


def _names(text: SpokenText, fit: Callable[[str], str], what: str) -> dict[str | None, str]:
    names = fitting_names([word.speaker for word in text.words if word.speaker is not None], fit, what=what)
    found: dict[str | None, str] = {None: UNSURE}
    found.update(names)
    return found


def _write_json(path: Path, text: SpokenText) -> None:
    document = {
        "schema": SCHEMA,
        "recording": text.recording,
        **text.details,
        "passages": [
            {
                "start_s": round(each.start_s, 3),
                "end_s": round(each.end_s, 3),
                "speaker": each.speaker,
                "text": each.text,
            }
            for each in passages(text.words)
        ],
        "words": [
            {
                "start_s": round(each.word.start_s, 3),
                "end_s": round(each.word.end_s, 3),
                "text": each.word.text,
                "speaker": each.speaker,
                "likely": each.likely,
                "confidence": each.confidence,
            }
            for each in text.words
        ],
    }
    atomic_write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _write_txt(path: Path, text: SpokenText) -> None:
    names = _names(text, one_line, "text")
    lines = [
        f"[{subtitle_clock(each.start_s)[:8]}] {names[each.speaker]}: {each.text}\n"
        for each in passages(text.words)
    ]
    atomic_write_text(path, "".join(lines))


def _write_csv(path: Path, text: SpokenText) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["recording", "start_s", "end_s", "word", "speaker", "likely", "confidence"])
        for each in text.words:
            times = (f"{s:.3f}" for s in (each.word.start_s, each.word.end_s))
            table.writerow(
                [
                    text.recording,
                    *times,
                    each.word.text,
                    each.speaker or "",
                    each.likely or "",
                    each.confidence,
                ]
            )


def _write_srt(path: Path, text: SpokenText) -> None:
    names = _names(text, without_markup, "SRT")
    cues = [
        subtitle_cue(
            each.start_s,
            each.end_s,
            f"{names[each.speaker]}: {without_markup(each.text)}",
        )
        for each in passages(text.words, cues=True)
    ]
    write_srt_cues(path, cues)


def _write_vtt(path: Path, text: SpokenText) -> None:
    names = _names(text, one_line, "WebVTT")
    cues = [
        subtitle_cue(
            each.start_s,
            each.end_s,
            f"<v {html.escape(names[each.speaker], quote=False)}>{html.escape(each.text, quote=False)}",
        )
        for each in passages(text.words, cues=True)
    ]
    with atomic_path(path) as temporary:
        WebVTT(captions=cues).save(str(temporary))


def _write_stm(path: Path, text: SpokenText) -> None:
    names = _names(text, as_field, "STM")
    lines = [
        f"{text.recording} 1 {names[each.speaker]} {each.start_s:.3f} {each.end_s:.3f} {each.text}\n"
        for each in passages(text.words)
    ]
    atomic_write_text(path, "".join(lines))


class WordFormat(NamedTuple):
    """A format of words with speakers."""

    suffix: str
    write: Callable[[Path, SpokenText], None]


WORD_FORMATS: Mapping[str, WordFormat] = MappingProxyType(
    {
        "json": WordFormat(".words.json", _write_json),
        "txt": WordFormat(".words.txt", _write_txt),
        "csv": WordFormat(".words.csv", _write_csv),
        "srt": WordFormat(".words.srt", _write_srt),
        "vtt": WordFormat(".words.vtt", _write_vtt),
        "stm": WordFormat(".words.stm", _write_stm),
    }
)


def find_word_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Check the names of formats; returns each once, in the order of `WORD_FORMATS`.

    Raises:
        InputError: there is none, or one is unknown.
    """
    return chosen_formats(names, WORD_FORMATS, "words")


def write_words(text: SpokenText, folder: Path, formats: Sequence[str]) -> dict[str, Path]:
    """Write words in one or several formats, each file complete or not at all; returns the files by format.

    Raises:
        InputError: a format is unknown, or a file cannot be written.
    """
    files = {
        name: folder / f"{text.recording}{WORD_FORMATS[name].suffix}" for name in find_word_formats(formats)
    }
    for name, path in files.items():
        WORD_FORMATS[name].write(path, text)
    return files
