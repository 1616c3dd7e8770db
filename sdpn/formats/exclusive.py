"""Turns with one speaker at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sdpn.io.rttm import Turn


def one_at_a_time(turns: Iterable[Turn]) -> list[Turn]:
    """Cut turns where they overlap: whoever began first keeps the floor until the end of the turn.

    Args:
        turns: of one recording; each channel counts by itself.

    Returns:
        turns in order of time that cover the same speech.
    """
    free_from_s: dict[str, float] = {}
    found = []
    for turn in sorted(turns, key=lambda turn: (turn.onset_s, -turn.end_s, turn.speaker)):
        start_s = max(turn.onset_s, free_from_s.get(turn.channel, 0.0))
        if turn.end_s > start_s:
            whole = start_s == turn.onset_s
            found.append(turn if whole else replace(turn, onset_s=start_s, duration_s=turn.end_s - start_s))
            free_from_s[turn.channel] = turn.end_s
    return sorted(found)
