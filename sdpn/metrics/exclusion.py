"""Regions that the reference excludes from scoring.

As NIST's md-eval 22 does for speaker diarization with its defaults: NOSCORE records of the reference are
excluded from the evaluated region, and NON-LEX records (laughter, breath, cough, ...) from the scored region.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sdpn.io.rttm import Mark, Turn

#: Maximum extension of a NON-LEX zone beyond its record, in seconds.
_REACH_S = 0.5

#: Order of simultaneous events. A boundary of a turn or a word limits a zone, so it comes before a zone
#: starts and after one ends.
_ZONE_ENDS, _EDGE, _ZONE_BEGINS = range(3)


def unscored_zones(turns: Iterable[Turn], marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """Find the unscored regions.

    A NOSCORE zone is its record. A NON-LEX zone reaches, since breath and laughter have no sharp ends, up to
    0.5 s beyond its record on either side, but not over a boundary of a turn, nor into a word (LEXEME) where
    the reference has words. As in md-eval, a zone is closed by the next boundary of a turn: after the last
    one it lasts to the end of the recording.

    Args:
        turns: of the reference, on one channel, in any order.
        marks: of the same channel.

    Returns:
        (start_s, end_s), sorted; they may overlap, and an end may be infinite.
    """
    turns = list(turns)
    everything = [mark for mark in marks if mark.kind != "LEXEME"]
    sounds = [mark for mark in marks if mark.kind == "NON-LEX"]
    words = [mark for mark in marks if mark.kind == "LEXEME"]
    return sorted([*_zones(turns, everything, words, 0.0), *_zones(turns, sounds, words, _REACH_S)])


def _zones(
    turns: Iterable[Turn], marks: Sequence[Mark], words: Iterable[Mark], reach_s: float
) -> list[tuple[float, float]]:
    if not marks:
        return []
    events: list[tuple[float, int, str, int]] = []  # time, order, what, whether it begins (1) or ends (-1)
    for mark in marks:
        events += ((mark.onset_s, _ZONE_BEGINS, "zone", 1), (mark.end_s, _ZONE_ENDS, "zone", -1))
    for turn in turns:
        events += ((turn.onset_s, _EDGE, "turn", 1), (turn.end_s, _EDGE, "turn", -1))
    for word in words:
        events += ((word.onset_s, _EDGE, "word", 1), (word.end_s, _EDGE, "word", -1))
    events.sort()

    zones: list[tuple[float, float]] = []
    opened_s: float | None = None
    edge_s = word_ended_s = zone_ended_s = 0.0
    depth = spoken = 0
    for time_s, _, what, step in events:
        if what == "zone":
            depth += step
            if depth == 0:
                zone_ended_s = time_s
        elif what == "word":
            spoken += step
            if spoken == 0:
                word_ended_s = time_s
        else:
            edge_s = time_s
        if opened_s is None:
            if what == "zone" and step > 0:
                opened_s = time_s if spoken else max(word_ended_s, edge_s, time_s - reach_s)
        elif depth == 0 and (spoken or what == "turn"):
            zones.append((opened_s, min(zone_ended_s + reach_s, time_s)))
            opened_s = None
        elif what == "zone" and step > 0 and depth == 1 and time_s > zone_ended_s + 2 * reach_s:
            zones.append((opened_s, zone_ended_s + reach_s))
            opened_s = time_s - reach_s
    if opened_s is not None:
        zones.append((opened_s, float("inf")))
    return zones
