"""Turns that may overlap: the speakers of a recording's windows, and a local segmentation of it.

The clusterer names the speaker of every window, one at each moment. The segmentation network knows where two
speak, and which of its local speakers they are. Each local speaker becomes the speaker of the recording in
whose windows it speaks most, alone, two of one window never the same; one that is never alone becomes the
speaker that the windows around it sound like, besides the one that has them. Both then vote on who speaks in
each frame: the speaker of the windows, and the local speakers of all the network's windows around it. The
first of this vote has the floor wherever there is speech, the second speaks too where the network hears two.

In conversations with overlap this is better than the network's own turns under the clusterer's names
(docs/segmentation.md).

Sources: local speakers named by constrained assignment and averaged over windows: Bredin, "pyannote.audio
2.1 speaker diarization pipeline", Interspeech 2023. A second speaker where overlap is detected: Bullock et
al., "Overlap-aware diarization", ICASSP 2020, arXiv 1910.11646.

Shapes: N windows with embeddings, C windows of the network, T frames of one, F frames of the recording,
L local speakers, K speakers of the recording, R runs of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sdpn.diarization.local_speech import LocalSpeech, OverlapAdd, SegmentationConfig
from sdpn.diarization.speech import Segment
from sdpn.diarization.timeline import LabelledSpan, label_speech
from sdpn.diarization.windows import Windows

#: A local speaker speaks in a frame from this probability on, in 255ths.
_SPEAKS = 128
#: Weight of likeness against time alone: it names the local speakers that are never alone.
_LIKENESS = 0.01


class OverlappingTurns(NamedTuple):
    """Turns of a recording, in order of time, speakers numbered by first appearance.

    Attributes:
        turns: turns of different speakers may overlap.
        exclusive: the same with one speaker at a time.
        labels_N: the windows' speakers, by the same numbers.
    """

    turns: list[LabelledSpan]
    exclusive: list[LabelledSpan]
    labels_N: np.ndarray


def overlapping_turns(
    local: LocalSpeech,
    speech: Sequence[Segment],
    windows: Windows,
    labels_N: np.ndarray,
    emb_ND: np.ndarray,
    config: SegmentationConfig,
    *,
    duration_s: float,
    max_pause_s: float,
) -> OverlappingTurns:
    """Who speaks when, alone or with another.

    Args:
        local: what the network heard.
        speech: segments in order of time; turns lie within them, and cover them.
        windows: with embeddings, over ``speech``.
        labels_N: speaker of each of them, 0 to K - 1.
        emb_ND: their embeddings.
        config: settings of the segmentation.
        duration_s: length of the recording.
        max_pause_s: a pause of a speaker of at most this is bridged; in ``exclusive`` only if nobody else
            speaks in it.
    """
    num_speakers = int(labels_N.max()) + 1
    edges = local.edges(duration_s)
    floor_F = _floor(edges, speech, label_speech(speech, windows, labels_N, max_pause_s=0.0))
    evidence_NK = np.eye(num_speakers, dtype=np.float32)[labels_N]
    likeness_NK = _likeness(emb_ND, evidence_NK)
    names = _names(local, edges, windows.times_N2, evidence_NK, _LIKENESS * likeness_NK)
    first_F, second_F = _votes(local, names, floor_F, num_speakers, config.trust)
    for speaker in np.setdiff1d(np.arange(num_speakers), first_F):  # outvoted everywhere
        first_F[floor_F == speaker] = speaker
    second_F[~_overlaps(local, config.overlap_threshold) | (first_F < 0) | (first_F == second_F)] = -1

    firsts = _runs(first_F)
    both = np.concatenate([firsts, _runs(second_F)])
    of_each = both[np.lexsort((both[:, 0], both[:, 2]))]  # one speaker after another
    turns = sorted(_joined(of_each, edges, speech, max_pause_s, config.min_turn_s))
    exclusive = _joined(firsts, edges, speech, max_pause_s, config.min_turn_s)
    number_of = {label: number for number, label in enumerate(dict.fromkeys(span.label for span in turns))}
    return OverlappingTurns(
        [span._replace(label=number_of[span.label]) for span in turns],
        [span._replace(label=number_of[span.label]) for span in exclusive],
        np.array([number_of.setdefault(label, len(number_of)) for label in labels_N.tolist()]),
    )


def _floor(edges: np.ndarray, speech: Sequence[Segment], spans: Sequence[LabelledSpan]) -> np.ndarray:
    """Speaker of the windows in each frame that has some speech (F,); -1 in the others."""
    start_M, end_M = np.array(speech, dtype=np.float64).T
    segment_F = np.minimum(np.searchsorted(end_M, edges[:-1], side="right"), len(start_M) - 1)
    spoken_F = (start_M[segment_F] < edges[1:]) & (end_M[segment_F] > edges[:-1])
    centre_F = np.clip((edges[:-1] + edges[1:]) / 2, start_M[segment_F], end_M[segment_F])
    starts = np.array([span.start_s for span in spans])
    labels = np.array([span.label for span in spans], dtype=np.int16)
    span_F = np.maximum(np.searchsorted(starts, centre_F, side="right") - 1, 0)
    return np.where(spoken_F, labels[span_F], np.int16(-1))


def windows_to_cluster(
    local: LocalSpeech, times_N2: np.ndarray, config: SegmentationConfig, *, duration_s: float, at_least: int
) -> np.ndarray:
    """Windows (N,) bool that are not mostly overlap, whose embeddings are of one voice.

    All, if fewer than half are, or fewer than ``at_least``.

    Args:
        local: what the network heard.
        times_N2: start and end of the windows, in seconds.
        config: settings of the segmentation.
        duration_s: length of the recording.
        at_least: so many windows are needed.
    """
    until_F = np.concatenate([[0], np.cumsum(_overlaps(local, config.overlap_threshold))])
    edges = local.edges(duration_s)
    begin_N, end_N = (np.clip(np.searchsorted(edges, side_N), 0, len(until_F) - 1) for side_N in times_N2.T)
    share_N = (until_F[end_N] - until_F[begin_N]) / np.maximum(end_N - begin_N, 1)
    alone_N: np.ndarray = share_N <= config.max_overlap
    enough = alone_N.sum() >= max(at_least, len(alone_N) / 2)
    return alone_N if enough else np.ones(len(alone_N), dtype=bool)


def with_others(emb_ND: np.ndarray, chosen_N: np.ndarray, labels_M: np.ndarray) -> np.ndarray:
    """Labels of all windows (N,): those of the chosen ones; the others get whom they resemble most.

    Args:
        emb_ND: embeddings of all windows.
        chosen_N: which of them were clustered.
        labels_M: their labels, 0 to K - 1.
    """
    if chosen_N.all():
        return labels_M
    member_NK = np.zeros((len(emb_ND), int(labels_M.max()) + 1), dtype=np.float32)
    member_NK[chosen_N] = np.eye(member_NK.shape[1], dtype=np.float32)[labels_M]
    labels_N: np.ndarray = _likeness(emb_ND, member_NK).argmax(axis=1)
    labels_N[chosen_N] = labels_M
    return labels_N


def _likeness(emb_ND: np.ndarray, member_NK: np.ndarray) -> np.ndarray:
    """Cosine of windows with the mean of each speaker's, (N, K), from 0 to 1 for the opposite to the same."""
    unit_ND = emb_ND / np.maximum(np.linalg.norm(emb_ND, axis=1, keepdims=True), 1e-12)
    mean_KD = member_NK.T @ unit_ND
    mean_KD /= np.maximum(np.linalg.norm(mean_KD, axis=1, keepdims=True), 1e-12)
    likeness_NK: np.ndarray = (1 + unit_ND @ mean_KD.T) / 2
    return likeness_NK


def _names(
    local: LocalSpeech,
    edges: np.ndarray,
    times_N2: np.ndarray,
    alone_NK: np.ndarray,
    any_NK: np.ndarray,
) -> list[np.ndarray]:
    """The speaker of the recording that each local speaker of each window is, (L,) a window; -1 for none.

    Args:
        local: what the network heard.
        edges: where its frames meet.
        times_N2: start and end of the windows with embeddings.
        alone_NK: evidence of a frame in which a local speaker is alone, by the window that it is in.
        any_NK: evidence of any frame in which it speaks.
    """
    order = np.argsort(times_N2[:, 0], kind="stable")
    begin_N, end_N = (np.searchsorted(edges, times_N2[order, side]) for side in (0, 1))
    alone_NK, any_NK, longest = alone_NK[order], any_NK[order], int((end_N - begin_N).max())
    names = []
    for start, active_TL in zip(local.start_C.tolist(), local.active, strict=True):
        near = slice(
            np.searchsorted(begin_N, start - longest), np.searchsorted(begin_N, start + len(active_TL))
        )
        first, last = (np.clip(side_N[near] - start, 0, len(active_TL)) for side_N in (begin_N, end_N))
        speaks_TL = active_TL >= _SPEAKS
        evidence_LK = np.zeros((active_TL.shape[1], alone_NK.shape[1]), dtype=np.float32)
        for frames_TL, of_frame_NK in (
            (speaks_TL & (speaks_TL.sum(axis=1, keepdims=True) == 1), alone_NK),
            (speaks_TL, any_NK),
        ):
            until_TL = np.pad(np.cumsum(frames_TL, axis=0, dtype=np.float32), ((1, 0), (0, 0)))
            evidence_LK += (until_TL[last] - until_TL[first]).T @ of_frame_NK[near]
        names.append(_assigned(evidence_LK))
    return names


def _assigned(evidence_LK: np.ndarray) -> np.ndarray:
    """A speaker for each local speaker (L,), no two the same, with the most evidence; -1 without any."""
    from scipy.optimize import linear_sum_assignment

    names_L = np.full(len(evidence_LK), -1)
    locals_, speakers = linear_sum_assignment(evidence_LK, maximize=True)
    names_L[locals_] = np.where(evidence_LK[locals_, speakers] > 0, speakers, -1)
    return names_L


def _votes(
    local: LocalSpeech, names: Sequence[np.ndarray], floor_F: np.ndarray, num_speakers: int, trust: float
) -> tuple[np.ndarray, np.ndarray]:
    """First and second speaker of each frame, (F,) each; -1 for none, and for both outside speech."""
    first_F, second_F = floor_F.copy(), np.full_like(floor_F, -1)
    mean, at = OverlapAdd(num_speakers), 0

    for start, active_TL, names_L in zip(local.start_C.tolist(), local.active, names, strict=True):
        at += _decide(mean.until(start), at, floor_F, first_F, second_F, trust)
        votes_TK = np.zeros((len(active_TL), num_speakers), dtype=np.float32)
        votes_TK[:, names_L[names_L >= 0]] = active_TL[:, names_L >= 0] / np.float32(255)
        mean.add(start, votes_TK)
    _decide(mean.rest(), at, floor_F, first_F, second_F, trust)
    return first_F, second_F


def _decide(
    votes_TK: np.ndarray,
    at: int,
    floor_F: np.ndarray,
    first_F: np.ndarray,
    second_F: np.ndarray,
    trust: float,
) -> int:
    """Fill in the speakers of the frames from ``at`` on; returns how many frames these are."""
    spoken = np.flatnonzero(floor_F[at : at + len(votes_TK)] >= 0)
    votes_RK, rows, frames = votes_TK[spoken], np.arange(len(spoken)), at + spoken
    votes_RK[rows, floor_F[frames]] += max(trust, 1e-6)  # decides where the network hears nobody
    first_F[frames] = votes_RK.argmax(axis=1)
    votes_RK[rows, first_F[frames]] = 0.0
    second_R = votes_RK.argmax(axis=1)
    second_F[frames] = np.where(votes_RK[rows, second_R] > 0, second_R, -1)
    return len(votes_TK)


def _overlaps(local: LocalSpeech, threshold: float) -> np.ndarray:
    """Frames (F,) in which two speak."""
    if local.together_FM.shape[1] < 2:  # a network without overlap
        return np.zeros(len(local.together_FM), dtype=bool)
    overlaps_F: np.ndarray = local.together_FM[:, 1] >= 255 * threshold
    return overlaps_F


def _runs(label_F: np.ndarray) -> np.ndarray:
    """Runs of one label, (R, 3): first frame, the frame after the last, label; without those of -1."""
    cuts = np.flatnonzero(np.diff(label_F, prepend=np.int16(-2), append=np.int16(-2)))
    runs_R3 = np.stack([cuts[:-1], cuts[1:], label_F[cuts[:-1]]], axis=1)
    return runs_R3[runs_R3[:, 2] >= 0]


def _joined(
    runs_R3: np.ndarray, edges: np.ndarray, speech: Sequence[Segment], max_pause_s: float, min_turn_s: float
) -> list[LabelledSpan]:
    """Runs as spans within speech; those of one label that follow each other closely are one.

    Args:
        runs_R3: from `_runs`, one after another in time, or of one label after another.
        edges: where the frames meet.
        speech: segments in order of time.
        max_pause_s: longest pause within a span.
        min_turn_s: shorter spans are dropped.
    """
    start_M, end_M = np.array(speech, dtype=np.float64).T
    starts_R, ends_R, labels_R = edges[runs_R3[:, 0]], edges[runs_R3[:, 1]], runs_R3[:, 2]
    # the frames at the ends of a segment reach beyond it
    starts_R = np.maximum(starts_R, start_M[np.searchsorted(end_M, starts_R, side="right")])
    ends_R = np.minimum(ends_R, end_M[np.searchsorted(start_M, ends_R, side="left") - 1])
    is_first = np.concatenate(
        [[True], (labels_R[1:] != labels_R[:-1]) | (starts_R[1:] - ends_R[:-1] > max_pause_s + 1e-9)]
    )
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(runs_R3)) - 1
    return [
        LabelledSpan(float(start_s), float(end_s), int(label))
        for start_s, end_s, label in zip(starts_R[first], ends_R[last], labels_R[first], strict=True)
        if end_s - start_s >= max(min_turn_s, 1e-9)
    ]
