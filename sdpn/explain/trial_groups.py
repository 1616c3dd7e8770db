"""Where the errors of a trial list are: error rates of its trials by duration, noise, language and the like.

Every trial is in one group of each grouping: by a number of its two utterances (the shorter duration, the
lower SNR, how far levels and pitches lie apart) in parts with about equally many trials, by a label
(language, gender) that both share, or as one whose labels differ. All groups have the one threshold of the
whole list, as a user has.

Shapes: M utterances, N trials, G groups, R resamples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sdpn.metrics.bootstrap import Interval, percentile_interval
from sdpn.metrics.verification import equal_error_rate, error_rates

#: Parts that a number is divided into.
_PARTS = 4
#: Fewest trials of a kind with which a rate is stated, and fewest speakers with which its interval is.
_FEWEST, _FEWEST_SPEAKERS = 10, 5
#: Most groups of one grouping.
_MOST_GROUPS = 12
#: Weights of resampled trials in memory at once: 64 MiB.
_CELLS = 1 << 23
_CONFIDENCE = 0.95

#: Names of the groups of trials whose labels differ, and of those with an unknown one.
DIFFERENT, UNKNOWN = "different", "unknown"


class GroupRates(NamedTuple):
    """Error rates of a group of trials at the threshold of all.

    Attributes:
        grouping: what the trials are grouped by.
        group: name of the group.
        num_target: trials of one speaker.
        num_nontarget: trials of two.
        num_speakers: who is in them; None where speakers are unknown.
        miss: share of the targets below the threshold; None for fewer than ten.
        miss_interval: bootstrap interval of it, 95 %; None as above, and for fewer than five speakers, whom
            no bootstrap says anything about.
        false_alarm: share of the others at or above it; None for fewer than ten.
        false_alarm_interval: of it.
        eer: equal error rate inside the group, with a threshold of its own; None as above.
    """

    grouping: str
    group: str
    num_target: int
    num_nontarget: int
    num_speakers: int | None
    miss: float | None
    miss_interval: Interval | None
    false_alarm: float | None
    false_alarm_interval: Interval | None
    eer: float | None


class Grouping(NamedTuple):
    """One way to group trials.

    Attributes:
        group_N: number of the group of each trial, int64; −1 for none.
        names: of the groups.
    """

    group_N: np.ndarray
    names: list[str]


def group_trials(
    first: np.ndarray, second: np.ndarray, facts: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> dict[str, Grouping]:
    """Group trials in every way that the data allow.

    Args:
        first: index of the first utterance of each trial, (N,).
        second: of the second.
        facts: (M,) numbers by name, from `sdpn.explain.utterance_facts.measure_facts`.
        labels: (M,) texts by name, empty where unknown; ``speaker`` is left out.
    """
    found: dict[str, Grouping] = {}
    pairs = {name: (values[first], values[second]) for name, values in facts.items()}
    for title, name, combine in (
        ("shorter duration, s", "duration_s", np.minimum),
        ("lower SNR, dB", "snr_db", np.minimum),
        ("difference of levels, dB", "level_db", lambda a, b: np.abs(a - b)),
        ("difference of pitch, semitones", "pitch_hz", lambda a, b: np.abs(12 * np.log2(a / b))),
    ):
        if name in pairs and (grouping := _parts(combine(*pairs[name]))) is not None:
            found[title] = grouping
    for name, labels_M in labels.items():
        if name != "speaker" and (grouping := _shared(labels_M[first], labels_M[second])) is not None:
            found[name] = grouping
    return found


def _parts(value_N: np.ndarray) -> Grouping | None:
    """Parts with about equally many trials; their edges have two digits."""
    known_N = np.isfinite(value_N)
    if not known_N.any():
        return None
    edges = np.quantile(value_N[known_N], np.arange(1, _PARTS) / _PARTS)
    edges = np.unique([float(f"{edge:.2g}") for edge in edges])
    group_N = np.where(known_N, np.searchsorted(edges, np.nan_to_num(value_N), side="right"), len(edges) + 1)
    shown = [f"{edge:g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(shown)]
    names = [f"below {shown[0]}", *between, f"{shown[-1]} or more", UNKNOWN]
    return Grouping(group_N, names)


def _shared(one_N: np.ndarray, other_N: np.ndarray) -> Grouping | None:
    """The label that both share; the rarest, if there are many, together."""
    texts, codes = np.unique(np.concatenate([one_N, other_N]), return_inverse=True)
    if len(texts) < 2:
        return None
    a_N, b_N = codes[: len(one_N)], codes[len(one_N) :]
    unknown_N = (one_N == "") | (other_N == "")
    same_N = (a_N == b_N) & ~unknown_N
    counts = np.bincount(a_N[same_N], minlength=len(texts))
    kept = np.argsort(-counts, kind="stable")[: _MOST_GROUPS - 3]
    kept = np.sort(kept[counts[kept] > 0])
    place = np.full(len(texts), len(kept))  # the rare ones
    place[kept] = np.arange(len(kept))
    names = [*texts[kept].tolist(), "others", DIFFERENT, UNKNOWN]
    group_N = np.where(unknown_N, len(kept) + 2, np.where(same_N, place[a_N], len(kept) + 1))
    return Grouping(group_N, names)


def rates_of_groups(
    groupings: Mapping[str, Grouping],
    scores: np.ndarray,
    is_target: np.ndarray,
    threshold: float,
    *,
    speakers: tuple[np.ndarray, np.ndarray] | None,
    resamples: int = 500,
    seed: int = 0,
) -> list[GroupRates]:
    """Error rates of every group that is not empty.

    Intervals resample speakers as `sdpn.metrics.eer_interval.resampled_eers` does: a target trial counts as
    often as its speaker is drawn, a non-target one as often as both are. Without speakers they resample
    trials, which assumes that these are independent.

    Args:
        groupings: from `group_trials`.
        scores: (N,).
        is_target: bool (N,).
        threshold: trials at or above it are accepted.
        speakers: number of the speaker of either side, (N,) each; None resamples trials.
        resamples: of the bootstrap.
        seed: of it.
    """
    from scipy.sparse import csr_array

    starts = np.cumsum([0, *(len(one.names) for one in groupings.values())])
    total = int(starts[-1])
    trial = np.arange(len(scores))
    kind = np.where(is_target, 0, total)
    rows = np.concatenate(
        [one.group_N + at + kind for one, at in zip(groupings.values(), starts, strict=False)]
    )
    columns = np.tile(trial, len(groupings))
    wrong_N = (scores >= threshold) != is_target
    shape = (2 * total, len(scores))
    member = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    missed = csr_array((wrong_N[columns].astype(float), (rows, columns)), shape=shape)
    counts, wrong = member.sum(axis=1), missed.sum(axis=1)
    drawn = np.concatenate(
        [
            _share(missed @ weights_NR, member @ weights_NR)
            for weights_NR in _weights(is_target, speakers, resamples, seed)
        ],
        axis=1,
    )
    found = []
    for (title, grouping), at in zip(groupings.items(), starts[:-1], strict=True):
        for number, name in enumerate(grouping.names):
            sides = (int(at) + number, total + int(at) + number)
            num = [int(counts[side]) for side in sides]
            if not sum(num):
                continue
            rate = [float(wrong[side] / counts[side]) if counts[side] >= _FEWEST else None for side in sides]
            chosen = grouping.group_N == number
            people = None
            if speakers is not None:
                people = len(np.unique(np.concatenate([speakers[0][chosen], speakers[1][chosen]])))
            enough = people is None or people >= _FEWEST_SPEAKERS
            interval = [
                _interval(drawn[side]) if enough and counts[side] >= _FEWEST else None for side in sides
            ]
            eer = None
            if min(num) >= _FEWEST:
                eer = equal_error_rate(error_rates(scores[chosen], is_target[chosen]))[0]
            found.append(
                GroupRates(
                    title, name, num[0], num[1], people, rate[0], interval[0], rate[1], interval[1], eer
                )
            )
    return found


def _weights(
    is_target: np.ndarray, speakers: tuple[np.ndarray, np.ndarray] | None, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """How often each trial counts in each resample, (N, R), a few resamples at a time."""
    rng = np.random.default_rng(seed)
    number = len(is_target)
    batch = max(1, _CELLS // number)
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        if speakers is None:
            yield rng.poisson(1.0, size=(size, number)).T.astype(float)
            continue
        first, second = speakers
        people = int(max(first.max(), second.max())) + 1
        times = rng.multinomial(people, np.full(people, 1 / people), size=size).T.astype(float)
        yield times[first] * np.where(is_target[:, None], 1.0, times[second])


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return part / whole


def _interval(values: np.ndarray) -> Interval | None:
    known = values[np.isfinite(values)]
    return percentile_interval(known, _CONFIDENCE) if len(known) else None
