"""How probably a turn is right, calibrated, from what the recording itself shows.

A turn is right if the one who speaks most of it is the speaker whose label it carries, everywhere else in
the recording. The probability is logistic in `FEATURES`: how much nearer the turn is to the other turns of
its speaker than to those of anybody else, in units that a recording defines for its own network (the
similarity within and between speakers, `sdpn.clustering.recording_model`), how much was said, how loud, and
how sure the number of speakers is. So it holds for any encoder and any clusterer. The coefficients were
fitted to simulated conversations of training speakers in fifteen conditions, with three encoders
(docs/confidence.md, tools/benchmarks/confidence.py).

Shapes: N windows, D embedding dimensions, K speakers, S turns, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sdpn.clustering.recording_model import fit_recording
from sdpn.diarization.embedded import EmbeddedRecording
from sdpn.diarization.level import FRAME
from sdpn.diarization.timeline import LabelledSpan
from sdpn.io.audio import RATE_HZ
from sdpn.verification.similarity import cosine

#: What `turn_features` measures, in the order of its last axis:
#:  duration    log seconds
#:  margin      how much nearer the turn is to the rest of its speaker than to the nearest other speaker: 1 is
#:              the usual distance between two speakers
#:  own         distance from the rest of its speaker: 0 for one speaker, 1 for two
#:  worst       margin of its worst window, to speakers with the turn
#:  rest        log windows of its speaker besides the turn
#:  alone       1 if its speaker has no other turn
#:  touching    neighbours of other speakers that touch it, 0 to 2
#:  level       10 dB above the usual level of speech in the recording
#:  floor       10 dB above the pauses of the recording
#:  within      similarity within a speaker
#:  contrast    similarity within a speaker less that between two
#:  sureness    probability of the number of speakers
#:  speakers    log number of speakers
#:  usual       mean margin in the recording
#:  unsteady    distance between neighbouring windows: 0 as two of one speaker usually are, 1 as two of two
#:  and products
FEATURES = (
    "constant",
    "duration",
    "margin",
    "own",
    "worst",
    "rest",
    "alone",
    "touching",
    "level",
    "floor",
    "within",
    "contrast",
    "sureness",
    "speakers",
    "usual",
    "unsteady",
    "margin · duration",
    "margin · rest",
    "margin · usual",
    "worst · usual",
    "margin²",
)

#: Log odds that a turn is right, linear in `FEATURES`.
RIGHT_ODDS = np.array(
    [
        -4.407,
        0.9281,
        2.097,
        0.4382,
        -0.03806,
        0.6304,
        1.908,
        -0.431,
        0.7399,
        0.08612,
        1.075,
        -0.8372,
        2.707,
        0.7607,
        0.2958,
        0.6142,
        0.1023,
        0.1865,
        -0.5635,
        0.2854,
        -0.8877,
    ]
)

#: What is taken where a recording does not tell: similarities with fewer than two windows, the sureness where
#: the number is given or the clusterer has no posterior, the level above the pauses without levels.
_WITHIN, _BETWEEN, _SURENESS, _FLOOR = 0.6, 0.25, 0.7, 2.5

#: Turns with less between them touch, in seconds.
_TOUCHING_S = 0.05

#: Windows whose distances from all speakers are in memory at the same time.
_AT_ONCE = 8192


def turn_confidence(features_SF: np.ndarray) -> list[float]:
    """Probability that each turn is right, from its `turn_features`."""
    from scipy.special import expit

    return [float(chance) for chance in expit(features_SF @ RIGHT_ODDS)]


def turn_features(
    embedded: EmbeddedRecording,
    labels_N: np.ndarray,
    spans: Sequence[LabelledSpan],
    counts: Mapping[int, float] | None,
) -> np.ndarray:
    """What confidence is made of.

    Args:
        embedded: windows of the recording.
        labels_N: speaker of each window, 0 to K - 1.
        spans: turns in order of time; their labels are those of the windows.
        counts: probabilities of numbers of speakers, if the clusterer gives them.

    Returns:
        (S, F) float64.
    """
    if not spans:
        return np.zeros((0, len(FEATURES)))
    times_N2 = embedded.windows.times_N2
    spans_S2 = np.array([(span.start_s, span.end_s) for span in spans])
    label_S = np.array([span.label for span in spans])
    num_speakers = int(max(labels_N.max(), label_S.max())) + 1
    rows_ND = cosine(embedded.emb_ND).features_NF
    within, between = _WITHIN, _BETWEEN
    if len(rows_ND) > 1:
        model = fit_recording(cosine(embedded.emb_ND), times_N2)
        within, between = model.within, model.between

    first_S, last_S = windows_of(times_N2, spans_S2)
    of_turn_SD = _sums(rows_ND, first_S, last_S)
    num_S = last_S - first_S
    agrees_S = (
        _sums((labels_N[:, None] == np.arange(num_speakers)).astype(np.float64), first_S, last_S)[
            np.arange(len(spans)), label_S
        ]
        / num_S
    )  # the windows of somebody who speaks at the same time may be another's
    sums_KD = np.zeros((num_speakers, rows_ND.shape[1]))
    np.add.at(sums_KD, labels_N, rows_ND)
    sizes_K = np.bincount(labels_N, minlength=num_speakers).astype(np.float64)

    def distance(cosines: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.clip((within - cosines) / (within - between), -1.0, 3.0)
        return found

    cosines_SK = (of_turn_SD / num_S[:, None]) @ (sums_KD / np.maximum(sizes_K, 1.0)[:, None]).T
    rest_SD = sums_KD[label_S] - agrees_S[:, None] * of_turn_SD
    rest_S = np.maximum(sizes_K[label_S] - agrees_S * num_S, 0.0)
    alone_S = rest_S < 0.5
    own_S = np.einsum("sd,sd->s", of_turn_SD, rest_SD) / (num_S * np.maximum(rest_S, 1.0))
    own_S = np.where(alone_S, 0.5, distance(own_S))  # nothing to compare with: neither one nor two
    cosines_SK[np.arange(len(spans)), label_S] = -np.inf
    other_S = distance(cosines_SK.max(axis=1)) if num_speakers > 1 else np.ones(len(spans))
    margin_S = other_S - own_S
    worst_S = np.minimum.reduceat(
        np.append(_window_margins(rows_ND, labels_N, sums_KD, sizes_K) / (within - between), np.inf),
        np.stack([first_S, last_S], axis=1).ravel(),
    )[::2]

    seconds_S = np.maximum(spans_S2[:, 1] - spans_S2[:, 0], 0.01)
    level_S, floor_S = _levels(embedded, spans_S2)
    unsteady_S = distance(_neighbours(rows_ND, labels_N, first_S, last_S, within))
    usual = float(np.average(margin_S, weights=seconds_S))
    sureness = _SURENESS if counts is None else counts.get(len(np.unique(label_S)), 0.0)
    duration_S, rest_S = np.log(seconds_S), np.log1p(rest_S)
    worst_S = np.clip(worst_S, -2.0, 2.0)

    def same(value: float) -> np.ndarray:
        return np.full(len(spans), value)

    return np.stack(
        [
            same(1.0),
            duration_S,
            margin_S,
            own_S,
            worst_S,
            rest_S,
            alone_S.astype(np.float64),
            _touching(spans_S2, label_S),
            level_S,
            floor_S,
            same(within),
            same(within - between),
            same(sureness),
            same(float(np.log(num_speakers))),
            same(usual),
            unsteady_S,
            margin_S * duration_S,
            margin_S * rest_S,
            margin_S * usual,
            worst_S * usual,
            margin_S**2,
        ],
        axis=1,
    )


def windows_of(times_N2: np.ndarray, spans_S2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windows whose centres lie in each span, as first (S,) and the one after the last (S,).

    Where none does, the nearest one.
    """
    centre_N = times_N2.mean(axis=1)
    first_S, last_S = (np.searchsorted(centre_N, side_S) for side_S in spans_S2.T)
    for number in np.flatnonzero(last_S <= first_S):
        nearest = int(np.abs(centre_N - spans_S2[number].mean()).argmin())
        first_S[number], last_S[number] = nearest, nearest + 1
    return first_S, last_S


def _sums(rows_ND: np.ndarray, first_S: np.ndarray, last_S: np.ndarray) -> np.ndarray:
    """Sums of the rows from each first to before each last, (S, D)."""
    padded = np.concatenate([rows_ND, np.zeros((1, rows_ND.shape[1]))])  # an index of N is allowed then
    sums_SD: np.ndarray = np.add.reduceat(padded, np.stack([first_S, last_S], axis=1).ravel(), axis=0)[::2]
    return sums_SD


def _neighbours(
    rows_ND: np.ndarray, labels_N: np.ndarray, first_S: np.ndarray, last_S: np.ndarray, otherwise: float
) -> np.ndarray:
    """Mean cosine (S,) of the neighbouring windows of each turn that have one label; a value without any."""
    one_label_P = labels_N[1:] == labels_N[:-1]
    cosines_P = np.einsum("pd,pd->p", rows_ND[1:], rows_ND[:-1]) * one_label_P
    until_N, pairs_N = (np.concatenate([[0.0], np.cumsum(each_P)]) for each_P in (cosines_P, one_label_P))
    sums_S, pairs_S = (each_N[last_S - 1] - each_N[first_S] for each_N in (until_N, pairs_N))
    found_S: np.ndarray = np.where(pairs_S > 0, sums_S / np.maximum(pairs_S, 1.0), otherwise)
    return found_S


def _window_margins(
    rows_ND: np.ndarray, labels_N: np.ndarray, sums_KD: np.ndarray, sizes_K: np.ndarray
) -> np.ndarray:
    """Cosine of each window (N,) with its own speaker's mean less that with the nearest other's."""
    means_KD = sums_KD / np.maximum(sizes_K, 1.0)[:, None]
    margins_N = np.empty(len(rows_ND))
    for start in range(0, len(rows_ND), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        cosines_NK = rows_ND[part] @ means_KD.T
        each = np.arange(len(cosines_NK))
        own_N = cosines_NK[each, labels_N[part]]
        cosines_NK[each, labels_N[part]] = -np.inf
        others_N = cosines_NK.max(axis=1) if cosines_NK.shape[1] > 1 else np.zeros(len(own_N))
        margins_N[part] = own_N - others_N
    return margins_N


def _touching(spans_S2: np.ndarray, label_S: np.ndarray) -> np.ndarray:
    """How many neighbours of other speakers touch or overlap each turn (S,), 0 to 2."""
    meets_T = (spans_S2[1:, 0] - spans_S2[:-1, 1] < _TOUCHING_S) & (label_S[1:] != label_S[:-1])
    found_S: np.ndarray = np.append(meets_T, False).astype(np.float64)
    found_S[1:] += meets_T
    return found_S


def _levels(embedded: EmbeddedRecording, spans_S2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level of each turn (S,) above the usual one of speech and above the pauses, in 10 dB."""
    level_db_T = embedded.level_db_T
    if level_db_T is None or not len(level_db_T):
        return np.zeros(len(spans_S2)), np.full(len(spans_S2), _FLOOR)
    speech_db, pauses_db = speech_and_pauses(embedded)
    until_T = np.concatenate([[0.0], np.cumsum(level_db_T, dtype=np.float64)])
    frames_S2 = np.clip(np.rint(spans_S2 * RATE_HZ / FRAME).astype(np.int64), 0, len(level_db_T))
    frames_S2[:, 1] = np.minimum(np.maximum(frames_S2[:, 1], frames_S2[:, 0] + 1), len(level_db_T))
    frames_S2[:, 0] = np.minimum(frames_S2[:, 0], frames_S2[:, 1] - 1)
    level_S = (until_T[frames_S2[:, 1]] - until_T[frames_S2[:, 0]]) / (frames_S2[:, 1] - frames_S2[:, 0])
    floor_S = np.clip((level_S - pauses_db) / 10, -1.0, 6.0)
    return np.clip((level_S - speech_db) / 10, -4.0, 4.0), floor_S


def speech_and_pauses(embedded: EmbeddedRecording) -> tuple[float, float]:
    """Usual level of the speech of a recording, and that of what lies between, in dB below full scale.

    Without pauses the latter is the level that a twentieth of the frames of speech fall below.
    """
    level_db_T = embedded.level_db_T
    assert level_db_T is not None
    speech_T = np.zeros(len(level_db_T) + 1)
    for segment in embedded.speech:
        begin, end = (
            min(round(side_s * RATE_HZ / FRAME), len(level_db_T))
            for side_s in (segment.start_s, segment.end_s)
        )
        speech_T[begin] += 1
        speech_T[end] -= 1
    is_speech_T = np.cumsum(speech_T)[:-1] > 0
    speaking, pausing = level_db_T[is_speech_T], level_db_T[~is_speech_T]
    if not len(speaking):
        speaking = level_db_T
    pauses_db = np.median(pausing) if len(pausing) >= 10 else np.quantile(speaking, 0.05)
    return float(np.median(speaking)), float(pauses_db)
