"""Turns as subtitles: SRT and WebVTT, through webvtt-py. A cue shows the name of its speaker."""

from __future__ import annotations

import html
from pathlib import Path

from webvtt import Caption, WebVTT

from sdpn.formats.names import fitting_names, one_line, without_markup
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.atomic import atomic_path
from sdpn.io.rttm import rounded


def write_srt(path: Path, spoken: WhoSpokeWhen) -> None:
    """Write SRT, which has no escapes: markup in names becomes ``_``."""
    names = fitting_names(spoken.speakers, without_markup, what="SRT")
    cues = [subtitle_cue(turn.onset_s, turn.end_s, names[turn.speaker]) for turn in rounded(spoken.turns)]
    write_srt_cues(path, cues)


def write_vtt(path: Path, spoken: WhoSpokeWhen) -> None:
    """Write WebVTT with voice spans; markup in names is escaped."""
    names = {
        name: html.escape(line, quote=False)
        for name, line in fitting_names(spoken.speakers, one_line, what="WebVTT").items()
    }
    cues = [
        subtitle_cue(turn.onset_s, turn.end_s, f"<v {names[turn.speaker]}>{names[turn.speaker]}")
        for turn in rounded(spoken.turns)
    ]
    with atomic_path(path) as temporary:
        WebVTT(captions=cues).save(str(temporary))


def write_srt_cues(path: Path, cues: list[Caption]) -> None:
    """Write subtitles as SRT; every cue ends with an empty line, the last one too."""
    with atomic_path(path) as temporary:
        if not cues:
            temporary.touch()  # webvtt-py writes nothing
            return
        WebVTT(captions=cues).save_as_srt(str(temporary))
        with open(temporary, "a", encoding="utf-8") as stream:
            stream.write("\n\n")


def subtitle_cue(start_s: float, end_s: float, text: str) -> Caption:
    """A subtitle from ``start_s`` to ``end_s``, in seconds."""
    return Caption(subtitle_clock(start_s), subtitle_clock(end_s), text)


def subtitle_clock(seconds: float) -> str:
    """``HH:MM:SS.mmm``; hours may have more digits."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
