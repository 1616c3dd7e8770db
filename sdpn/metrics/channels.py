"""Channels of a recording, scored as recordings of their own, as NIST's md-eval does.

Speaker labels are local to a channel: equal labels in two channels do not mean the same speaker.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sdpn.errors import InputError
from sdpn.io.rttm import NO_CHANNEL, Records, Turn
from sdpn.metrics.exclusion import unscored_zones
from sdpn.metrics.speaker_states import Regions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sides:
    """Inputs of `sdpn.metrics.diarization.score_recordings`, by recording.

    A recording with turns of its reference on one channel keeps its name; channels of other recordings are
    named ``<recording> channel <channel>``, which cannot be a recording id, since ids contain no blanks.

    Attributes:
        reference: turns of the reference.
        hypothesis: turns of the hypothesis.
        regions: scored regions of the UEM; None without one.
        unscored: regions that the reference excludes.
    """

    reference: dict[str, list[Turn]] = field(default_factory=dict)
    hypothesis: dict[str, list[Turn]] = field(default_factory=dict)
    regions: dict[str, Regions] | None = None
    unscored: dict[str, Regions] = field(default_factory=dict)


def match_channels(
    reference: Records, hypothesis: Records, uem: Mapping[str, Mapping[str, Regions]] | None = None
) -> Sides:
    """Pair the channels of every recording.

    If each side has turns on one channel only, these are paired whatever their names (``1``, ``A``, ``0``).
    Otherwise channels of the same name are paired, ignoring case. A recording whose reference is silent is
    scored as one, whatever the channels of the hypothesis.

    Raises:
        InputError: a hypothesis or a UEM has several channels where the reference has one, and none has the
            same name.
    """
    sides = Sides(regions=None if uem is None else {})
    for recording, turns in reference.turns.items():
        channels, found = _by_channel(turns), _by_channel(hypothesis.turns.get(recording, ()))
        marks = reference.marks.get(recording, ())
        regions = None if uem is None else uem.get(recording)
        if not channels:
            sides.reference[recording] = []
            sides.unscored[recording] = unscored_zones([], marks)
            if recording in hypothesis.turns:
                sides.hypothesis[recording] = _told_apart(found)
            if sides.regions is not None and regions is not None:
                sides.regions[recording] = sorted(span for spans in regions.values() for span in spans)
            continue
        several = len(channels) > 1
        for channel, spoken in channels.items():
            name = f"{recording} channel {channel}" if several else recording
            sides.reference[name] = spoken
            sides.unscored[name] = unscored_zones(
                spoken, [mark for mark in marks if mark.channel.lower() in (channel, NO_CHANNEL)]
            )
            if recording in hypothesis.turns:
                own = _own(channel, found, several=several, what=f"the hypothesis of {recording!r}")
                sides.hypothesis[name] = [] if own is None else found.pop(own)
            if sides.regions is not None and regions is not None:
                scored = {each.lower(): spans for each, spans in regions.items()}
                own = _own(channel, scored, several=several, what=f"the UEM of {recording!r}")
                if own is not None:
                    sides.regions[name] = scored[own]
        for channel, extra in found.items():
            sides.hypothesis[f"{recording} channel {channel}"] = extra
        if lost := {mark.channel for mark in marks if mark.channel.lower() not in {*channels, NO_CHANNEL}}:
            logger.warning(
                "%s: the reference has no speech on channel %s; its no-score regions are ignored",
                recording,
                ", ".join(sorted(lost)),
            )
    for recording, turns in hypothesis.turns.items():
        if recording not in reference.turns:
            sides.hypothesis[recording] = _told_apart(_by_channel(turns))
    return sides


def _by_channel(turns: Iterable[Turn]) -> dict[str, list[Turn]]:
    channels: dict[str, list[Turn]] = {}
    for turn in turns:
        channels.setdefault(turn.channel.lower(), []).append(turn)
    return dict(sorted(channels.items()))


def _told_apart(channels: Mapping[str, Sequence[Turn]]) -> list[Turn]:
    """All turns on one channel, with the original channel added to the speaker labels."""
    if len(channels) < 2:
        return [turn for turns in channels.values() for turn in turns]
    return sorted(
        replace(turn, speaker=f"{channel}:{turn.speaker}")
        for channel, turns in channels.items()
        for turn in turns
    )


def _own(channel: str, others: Mapping[str, object], *, several: bool, what: str) -> str | None:
    """The channel of another file that corresponds to ``channel`` of the reference, or None."""
    if channel in others:
        return channel
    if several or not others:
        return None
    if len(others) == 1:
        return next(iter(others))
    raise InputError(
        f"{what} has channels {', '.join(others)}, but the reference only channel {channel}",
        hint="use the same name for the annotated channel in both files",
    )
