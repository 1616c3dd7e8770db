"""Turn-taking statistics: lengths, pauses, overlaps and interjections, estimated from RTTM files.

The turns of a recording, in order of onset, fall into two kinds. One that ends before the turn that is being
held has ended is an *interjection* ("mhm", a laugh, a failed attempt to interrupt). Any other takes the
floor, in one of three ways: after a *pause* of the same speaker, after a *gap* between two speakers, or with
an *overlap* of two speakers (Heldner and Edlund, "Pauses, gaps and overlaps in conversations", Journal of
Phonetics 38, 2010).

Annotators differ in the shortest silence that they mark. Turns of one speaker less than `JOIN_S` apart are
therefore merged, in measured and in simulated conversations.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.json_text import read_json
from sdpn.io.rttm import Turn, merge_overlaps, read_rttms

#: Shorter silences inside a speaker's speech do not end a turn, in seconds; the guideline of VoxConverse.
JOIN_S = 0.25

#: Points of a saved distribution, evenly spaced in probability.
_NUM_QUANTILES = 201

#: Pseudo-counts that smooth the rates of each recording towards the average: a short recording without
#: overlap does not imply a rate of zero. Larger values make conversations too similar: with 5, the
#: distribution of overlap differs more from that of real conversations.
_PRIOR_EVENTS = 1.0

_SCHEMA = "sdpn.turn_statistics/1"

#: Included in sdpn; docs/simulation.md describes how it was made.
_SHIPPED = Path(__file__).with_name("voxconverse_turns.json")


@dataclass(frozen=True)
class Observed:
    """Measured turns of recordings; results of several recordings can be added.

    Attributes:
        turn_s: lengths of the turns that take the floor, in seconds.
        interjection_s: lengths of those that do not.
        pause_s: silences between two turns of one speaker who keeps the floor.
        gap_s: silences between two speakers.
        overlap_s: overlaps of a turn with the one of another speaker that takes the floor from it.
        speech_s: time with at least one speaker.
        overlapped_s: time with two or more speakers.
        span_s: time from the first onset to the last end.
        host_s: time in which an interjection can be distinguished from a change of the floor: within turns,
            at least `JOIN_S` from the previous and next turn.
    """

    turn_s: tuple[float, ...]
    interjection_s: tuple[float, ...]
    pause_s: tuple[float, ...]
    gap_s: tuple[float, ...]
    overlap_s: tuple[float, ...]
    speech_s: float
    overlapped_s: float
    span_s: float
    host_s: float

    def __add__(self, other: Observed) -> Observed:
        """Combine the measurements of both."""
        return Observed(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def observe(turns: Iterable[Turn]) -> Observed:
    """Classify the turns of one recording.

    Args:
        turns: turns of one recording, at least one.
    """
    joined = merge_overlaps(sorted(turns), pause_s=JOIN_S)
    floor, interjections = _split(joined)
    pauses, gaps, overlaps, host_s = [], [], [], 0.0
    for before, turn in pairwise(floor):
        silence_s = turn.onset_s - before.end_s
        if turn.speaker == before.speaker:
            pauses.append(silence_s)
        elif silence_s >= 0:
            gaps.append(silence_s)
        else:
            overlaps.append(-silence_s)
    for index, turn in enumerate(floor):
        start_s = max(turn.onset_s, floor[index - 1].end_s) if index else turn.onset_s
        end_s = min(turn.end_s, floor[index + 1].onset_s) if index + 1 < len(floor) else turn.end_s
        host_s += max(0.0, end_s - start_s - 2 * JOIN_S)
    speech_s, overlapped_s = _speech(joined)
    return Observed(
        turn_s=tuple(turn.duration_s for turn in floor),
        interjection_s=tuple(turn.duration_s for turn in interjections),
        pause_s=tuple(pauses),
        gap_s=tuple(gaps),
        overlap_s=tuple(overlaps),
        speech_s=speech_s,
        overlapped_s=overlapped_s,
        span_s=floor[-1].end_s - floor[0].onset_s,
        host_s=host_s,
    )


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Turn-taking rates of one recording.

    Attributes:
        num_speakers: number of speakers.
        span_s: time from the first onset to the last end.
        mean_turn_s: mean length of the turns that take the floor.
        change_rate: a speaker with a share p of the turns loses the floor after a turn with probability
            ``change_rate * (1 - p)``.
        overlap_probability: that a change of speaker is an overlap and not a gap.
        interjections_per_min: interjections per minute of `Observed.host_s`.
    """

    num_speakers: int
    span_s: float
    mean_turn_s: float
    change_rate: float
    overlap_probability: float
    interjections_per_min: float


@dataclass(frozen=True, kw_only=True)
class TurnStatistics:
    """Statistics of turns, estimated from recordings with two or more speakers.

    A distribution is the tuple of its quantiles, evenly spaced from the minimum to the maximum; an empty one
    was never observed.

    Attributes:
        source: origin of the recordings.
        num_recordings: number of recordings.
        num_turns: number of turns, after merging by `JOIN_S`.
        hours: total duration, from the first to the last turn of each recording.
        overlap_share: share of overlap in the speech.
        silence_share: share of silence in the duration.
        changes_per_min: changes of speaker per minute.
        interjections_per_min: interjections per minute.
        concentration: concentration of the symmetric Dirichlet distribution of the speakers' shares of the
            turns; with a low one, few speakers dominate.
        turn_s: lengths of the turns that take the floor.
        relative_turn: the same over the mean of their recording (see `Profile`).
        interjection_s: lengths of the interjections.
        pause_s: silences of one speaker who keeps the floor.
        gap_s: silences between two speakers.
        overlap_s: overlaps of two speakers at a change.
        profiles: one for each recording.
    """

    source: str
    num_recordings: int
    num_turns: int
    hours: float
    overlap_share: float
    silence_share: float
    changes_per_min: float
    interjections_per_min: float
    concentration: float
    turn_s: tuple[float, ...]
    relative_turn: tuple[float, ...]
    interjection_s: tuple[float, ...]
    pause_s: tuple[float, ...]
    gap_s: tuple[float, ...]
    overlap_s: tuple[float, ...]
    profiles: tuple[Profile, ...]

    def draw_profile(self, num_speakers: int, rng: np.random.Generator) -> Profile:
        """Draw a profile with the same number of speakers plus or minus one, or else the nearest number."""
        away = [abs(profile.num_speakers - num_speakers) for profile in self.profiles]
        reach = max(1, min(away))
        near = [profile for profile, distance in zip(self.profiles, away, strict=True) if distance <= reach]
        spans_s = np.array([profile.span_s for profile in near])
        return near[rng.choice(len(near), p=spans_s / spans_s.sum())]


def quantile(distribution: Sequence[float], probability: float) -> float:
    """Quantile of a distribution of `TurnStatistics`; drawing is this at a uniform random number.

    Args:
        distribution: evenly spaced quantiles; at least one.
        probability: between 0 and 1.
    """
    return float(np.interp(probability, np.linspace(0.0, 1.0, len(distribution)), distribution))


def figures(statistics: TurnStatistics) -> dict[str, float]:
    """Turn statistics as a few figures, by their names with units; those of nothing observed are absent."""
    figures = {
        "overlapping speech, %": 100 * statistics.overlap_share,
        "silence, %": 100 * statistics.silence_share,
        "speaker changes per min": statistics.changes_per_min,
        "interjections per min": statistics.interjections_per_min,
    }
    for name, distribution in (
        ("turn", statistics.turn_s),
        ("pause within a speaker", statistics.pause_s),
        ("gap between speakers", statistics.gap_s),
        ("overlap at a change", statistics.overlap_s),
        ("interjection", statistics.interjection_s),
    ):
        if distribution:
            figures[f"{name}, median, s"] = quantile(distribution, 0.5)
            figures[f"{name}, 90th percentile, s"] = quantile(distribution, 0.9)
    return figures


def estimate(recordings: Mapping[str, Sequence[Turn]], source: str) -> TurnStatistics:
    """Estimate statistics from the turns of recordings; those with fewer than two speakers are left out.

    Args:
        recordings: turns by recording.
        source: description of the data, for the result and error messages.

    Raises:
        InputError: no recording has two speakers.
    """
    groups = [turns for turns in recordings.values() if len({turn.speaker for turn in turns}) > 1]
    if not groups:
        raise InputError(
            f"{source}: no recording has turns of two speakers, which turn statistics are estimated from"
        )
    each = [observe(turns) for turns in groups]
    total = sum(each[1:], each[0])
    floors = [_split(merge_overlaps(sorted(turns), pause_s=JOIN_S))[0] for turns in groups]
    profiles = _profiles([len({turn.speaker for turn in turns}) for turns in groups], floors, each, total)
    means = np.repeat([profile.mean_turn_s for profile in profiles], [len(one.turn_s) for one in each])
    return TurnStatistics(
        source=source,
        num_recordings=len(groups),
        num_turns=len(total.turn_s) + len(total.interjection_s),
        hours=round(total.span_s / 3600, 3),
        overlap_share=round(total.overlapped_s / total.speech_s, 4),
        silence_share=round(1 - total.speech_s / total.span_s, 4),
        changes_per_min=round(60 * (len(total.gap_s) + len(total.overlap_s)) / total.span_s, 3),
        interjections_per_min=round(60 * len(total.interjection_s) / total.span_s, 3),
        concentration=_concentration(floors),
        turn_s=_quantiles(total.turn_s),
        relative_turn=_quantiles(np.array(total.turn_s) / means),
        interjection_s=_quantiles(total.interjection_s),
        pause_s=_quantiles(total.pause_s),
        gap_s=_quantiles(total.gap_s),
        overlap_s=_quantiles(total.overlap_s),
        profiles=profiles,
    )


def read_statistics(path: str | os.PathLike[str]) -> TurnStatistics:
    """Read saved statistics, or estimate them from an RTTM file or a folder of them, at any depth.

    Raises:
        InputError: nothing is there, or it is neither.
    """
    path = Path(path)
    if path.is_dir():
        rttms = sorted(path.rglob("*.rttm"))
        if not rttms:
            raise InputError("contains no RTTM files (*.rttm)", path=path)
        return estimate(read_rttms(rttms), f"{path.name}/*.rttm")
    if path.suffix != ".json":
        return estimate(read_rttms([path]), path.name)
    document = read_json(
        path,
        "turn statistics file",
        hint="expected a statistics.json written by sdpn simulate, or RTTM files",
    )
    try:
        if document.pop("schema") != _SCHEMA:
            raise ValueError(f"its schema is not {_SCHEMA}")
        profiles = tuple(Profile(**profile) for profile in document.pop("profiles"))
        lists = {key: tuple(map(float, value)) for key, value in document.items() if isinstance(value, list)}
        statistics = TurnStatistics(**{**document, **lists}, profiles=profiles)
        _check(statistics)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"is not a valid turn statistics file ({error})",
            path=path,
            hint="expected a statistics.json written by sdpn simulate, or RTTM files",
        ) from error
    return statistics


def write_statistics(path: str | os.PathLike[str], statistics: TurnStatistics) -> None:
    """Save statistics as JSON, one line for each field and profile.

    Raises:
        InputError: ``path`` cannot be written.
    """
    document: dict[str, Any] = {"schema": _SCHEMA, **asdict(statistics)}
    profiles = ",\n".join(f"  {json.dumps(profile)}" for profile in document.pop("profiles"))
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items()]
    lines.append(f' "profiles": [\n{profiles}\n ]')
    atomic_write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


@cache
def voxconverse() -> TurnStatistics:
    """The statistics included in sdpn: the development set of VoxConverse."""
    return read_statistics(_SHIPPED)


def _split(joined: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    """Turns in order of onset, split into those that take the floor and interjections."""
    floor: list[Turn] = []
    interjections: list[Turn] = []
    for turn in joined:
        held = floor and turn.end_s <= floor[-1].end_s
        (interjections if held else floor).append(turn)
    return floor, interjections


def _speech(turns: Sequence[Turn]) -> tuple[float, float]:
    """Seconds with at least one speaker, and with at least two."""
    times_s = np.array([[turn.onset_s, turn.end_s] for turn in turns]).T.ravel()
    steps = np.repeat([1, -1], len(turns))
    order = np.argsort(times_s, kind="stable")
    lengths_s = np.diff(times_s[order])
    speaking = np.cumsum(steps[order])[:-1]
    return float(lengths_s[speaking > 0].sum()), float(lengths_s[speaking > 1].sum())


def _profiles(
    num_speakers: Sequence[int], floors: Sequence[Sequence[Turn]], each: Sequence[Observed], total: Observed
) -> tuple[Profile, ...]:
    # 1 - (sum of squared shares): probability of a change if speakers were drawn independently
    change_if_redrawn = [1 - sum((n / len(floor)) ** 2 for n in _turn_counts(floor)) for floor in floors]
    transitions = [len(floor) - 1 for floor in floors]
    changes = [len(one.gap_s) + len(one.overlap_s) for one in each]
    redraws = sum(n * chance for n, chance in zip(transitions, change_if_redrawn, strict=True))
    change_rate = sum(changes) / max(redraws, 1e-9)
    overlap_probability = len(total.overlap_s) / max(sum(changes), 1)
    interjection_rate = 60 * len(total.interjection_s) / max(total.host_s, 1e-9)
    mean_turn_s = float(np.mean(total.turn_s))
    profiles = []
    for index, one in enumerate(each):
        chance, prior = change_if_redrawn[index], _PRIOR_EVENTS
        expected = (transitions[index] + prior) * chance
        changed = changes[index] + prior * chance * change_rate
        prior_min = prior / interjection_rate if interjection_rate else 1.0
        profiles.append(
            Profile(
                num_speakers=num_speakers[index],
                span_s=round(one.span_s, 3),
                mean_turn_s=round((sum(one.turn_s) + prior * mean_turn_s) / (len(one.turn_s) + prior), 3),
                change_rate=round(changed / expected if expected else change_rate, 4),
                overlap_probability=round(
                    (len(one.overlap_s) + prior * overlap_probability) / (changes[index] + prior), 4
                ),
                interjections_per_min=round(
                    (len(one.interjection_s) + prior_min * interjection_rate) / (one.host_s / 60 + prior_min),
                    4,
                ),
            )
        )
    return tuple(profiles)


def _turn_counts(floor: Sequence[Turn]) -> list[int]:
    return list(Counter(turn.speaker for turn in floor).values())


def _concentration(floors: Sequence[Sequence[Turn]]) -> float:
    """Dirichlet concentration by the method of moments.

    For K speakers with concentration a, the expected sum of the squared shares is (a + 1) / (K a + 1). A
    recording of n turns has a bias of (1 - sum) / n, which is corrected.
    """
    from scipy.optimize import brentq

    observed, num_speakers = [], []
    for floor in floors:
        counts = np.array(_turn_counts(floor))
        n = counts.sum()
        if n > 1:
            observed.append((np.sum(counts**2) / n - 1) / (n - 1))
            num_speakers.append(len(counts))
    k = np.array(num_speakers)

    def excess(log_concentration: float) -> float:
        a = np.exp(log_concentration)
        return float(np.mean((a + 1) / (k * a + 1)) - np.mean(observed))

    low, high = np.log(0.05), np.log(100.0)
    if not observed or excess(high) >= 0:
        return round(float(np.exp(high)), 3)
    return round(float(np.exp(low if excess(low) <= 0 else brentq(excess, low, high))), 3)


def _quantiles(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    if not len(values):
        return ()
    return tuple(np.quantile(values, np.linspace(0.0, 1.0, _NUM_QUANTILES)).round(3).tolist())


def _check(statistics: TurnStatistics) -> None:
    """Raise ValueError for impossible values."""
    distributions = ("turn_s", "relative_turn", "interjection_s", "pause_s", "gap_s", "overlap_s")
    for name in distributions:
        values = np.array(getattr(statistics, name))
        if not np.all(np.isfinite(values)) or np.any(values < 0) or np.any(np.diff(values) < 0):
            raise ValueError(f"{name} does not contain ascending quantiles")
    if not statistics.turn_s or not statistics.relative_turn or not statistics.profiles:
        raise ValueError("turn_s, relative_turn or profiles are empty")
    if not statistics.concentration > 0:
        raise ValueError("concentration is not positive")
    for profile in statistics.profiles:
        rates = (profile.mean_turn_s, profile.span_s, profile.change_rate, profile.interjections_per_min)
        if profile.num_speakers < 2 or not all(0 <= rate < np.inf for rate in rates):
            raise ValueError("a profile has a negative rate or fewer than two speakers")
        if not 0 <= profile.overlap_probability <= 1 or min(profile.mean_turn_s, profile.span_s) <= 0:
            raise ValueError("a profile has a probability outside 0 to 1 or a length of 0")
