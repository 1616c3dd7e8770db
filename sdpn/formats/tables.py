"""Turns as lines of text: RTTM, CSV, Audacity's labels."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from sdpn.formats.names import as_field, fitting_names, one_line
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.rttm import rounded, write_rttm


def write_as_rttm(path: Path, spoken: WhoSpokeWhen) -> None:
    """Write RTTM: every turn, blanks in names as ``_``."""
    names = fitting_names(spoken.speakers, as_field, what="RTTM")
    turns = [replace(turn, speaker=names[turn.speaker]) for turn in spoken.turns]
    write_rttm(path, spoken.recording, turns)


def write_csv(path: Path, spoken: WhoSpokeWhen) -> None:
    """Write a table with a header, comma-separated, UTF-8; names are quoted where they need it (RFC 4180)."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["recording", "start_s", "end_s", "duration_s", "speaker", "channel", "confidence"])
        for turn in rounded(spoken.turns):
            times = (f"{s:.3f}" for s in (turn.onset_s, turn.end_s, turn.duration_s))
            sure = "" if turn.confidence is None else f"{turn.confidence:.4f}"
            table.writerow([turn.recording, *times, turn.speaker, turn.channel, sure])


def write_audacity(path: Path, spoken: WhoSpokeWhen) -> None:
    """Write a label track: start, end and speaker, separated by tabs (File > Import > Labels)."""
    names = fitting_names(spoken.speakers, one_line, what="a label track")
    lines = [
        f"{turn.onset_s:.6f}\t{turn.end_s:.6f}\t{names[turn.speaker]}\n" for turn in rounded(spoken.turns)
    ]
    atomic_write_text(path, "".join(lines))
