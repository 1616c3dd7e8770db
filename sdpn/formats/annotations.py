"""Turns as annotations: TextGrid (Praat) through praatio, ELAN through pympi; a tier for each speaker."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from sdpn.formats.names import fitting_names, one_line
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.atomic import atomic_path
from sdpn.io.rttm import rounded

#: ELAN wants a date; that of the run would make the same turns other bytes.
_NO_DATE = "1970-01-01T00:00:00+00:00"


def write_textgrid(path: Path, spoken: WhoSpokeWhen) -> None:
    """Write a TextGrid in its long form, with a tier for each speaker."""
    from praatio.textgrid import IntervalTier, Textgrid

    names = fitting_names(spoken.speakers, one_line, what="TextGrid")
    end_s = round(max([spoken.duration_s, *(turn.end_s for turn in rounded(spoken.turns))]), 3)
    grid = Textgrid(0, end_s)
    for speaker in spoken.speakers:
        name = names[speaker]
        entries = [
            (round(turn.onset_s, 3), round(turn.end_s, 3), name)  # a sum of milliseconds may have more digits
            for turn in rounded(spoken.turns_of(speaker))
        ]
        if entries:
            grid.addTier(IntervalTier(name, entries, 0, end_s))
    with atomic_path(path) as temporary:
        grid.save(str(temporary), format="long_textgrid", includeBlankSpaces=True)


def write_elan(path: Path, spoken: WhoSpokeWhen) -> None:
    """Write an ELAN document (EAF 2.8) that refers to the audio, with a tier for each speaker."""
    from pympi.Elan import Eaf, to_eaf

    document = Eaf(author="sdpn")
    document.adocument["DATE"] = _NO_DATE
    document.remove_tier("default")
    if spoken.audio is not None:
        audio = spoken.audio.resolve()
        document.add_linked_file(audio.as_uri(), relpath=_relative(audio, path), mimetype="audio/x-wav")
    names = fitting_names(spoken.speakers, one_line, what="ELAN")
    for speaker in spoken.speakers:
        document.add_tier(names[speaker], part=names[speaker])
        for turn in rounded(spoken.turns_of(speaker)):
            times = round(turn.onset_s * 1000), round(turn.end_s * 1000)
            document.add_annotation(names[speaker], *times, names[speaker])
    with atomic_path(path) as temporary:
        to_eaf(temporary, document)


def _relative(audio: Path, document: Path) -> str:
    """The audio as seen from the folder of the document, as ELAN writes it: found after both have moved."""
    way = Path(os.path.relpath(audio, document.resolve().parent)).as_posix()
    return quote(way if way.startswith("../") else f"./{way}")
