"""Metrics of diarization: DER, JER, purity and coverage, number of speakers.

This module matches recordings, fixes the conventions that make two scores comparable (collar, overlap, scored
region), and keeps the components of every figure, which are additive, unlike percentages. The errors of a DER
are counted by `pyannote.metrics`, speaker combination by speaker combination (`sdpn.metrics.speaker_states`)
instead of turn by turn, which is the same sum in another order.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import TypeVar

import numpy as np

from sdpn.errors import InputError
from sdpn.io.rttm import Turn, merge_overlaps
from sdpn.metrics.speaker_states import Regions, SpeakerStates, speaker_states

#: Collar of NIST's evaluations on each side of a reference boundary, in seconds.
NIST_COLLAR_S = 0.25

#: A forked process starts immediately with all turns in memory, whereas pickling them would take longer than
#: scoring. Forking is safe on Linux only.
_START_METHOD = "fork" if sys.platform == "linux" else "spawn"


class _Additive:
    """Components of several recordings add, field by field."""

    def __add__(self: _Components, other: _Components) -> _Components:
        return type(self)(
            *(getattr(self, field.name) + getattr(other, field.name) for field in fields(self))  # type: ignore[arg-type]
        )


_Components = TypeVar("_Components", bound=_Additive)


@dataclass(frozen=True)
class DerComponents(_Additive):
    """Components of a DER, in seconds. Components of several recordings add.

    Attributes:
        missed_s: reference speech without a hypothesis.
        false_alarm_s: hypothesis speech without a reference.
        confusion_s: speech given to the wrong speaker.
        total_s: reference speech; two simultaneous speakers count twice.
    """

    missed_s: float = 0.0
    false_alarm_s: float = 0.0
    confusion_s: float = 0.0
    total_s: float = 0.0

    @property
    def error_s(self) -> float:
        """The three errors together."""
        return self.missed_s + self.false_alarm_s + self.confusion_s

    @property
    def der(self) -> float:
        """Diarization error rate as a fraction, which can exceed 1 through false alarms.

        Without reference speech it is pyannote's convention: 0 without a hypothesis, otherwise 1.
        """
        if self.total_s == 0:
            return 0.0 if self.error_s == 0 else 1.0
        return self.error_s / self.total_s


@dataclass(frozen=True)
class JerComponents(_Additive):
    """Components of a JER. Components of several recordings add: every reference speaker has the same weight.

    Attributes:
        error: Jaccard errors of all reference speakers, each in [0, 1].
        num_speakers: reference speakers.
        num_hypothesis: hypothesis speakers.
    """

    error: float = 0.0
    num_speakers: int = 0
    num_hypothesis: int = 0

    @property
    def jer(self) -> float:
        """Jaccard error rate as a fraction; without reference speakers 0 where none were found, else 1."""
        if self.num_speakers == 0:
            return 1.0 if self.num_hypothesis else 0.0
        return self.error / self.num_speakers


@dataclass(frozen=True)
class ClusterComponents(_Additive):
    """Components of purity and coverage, in seconds. Components of several recordings add.

    Attributes:
        pure_s: summed over hypothesis speakers, the largest time shared with one reference speaker.
        hypothesis_s: hypothesis speech.
        covered_s: summed over reference speakers, the largest time shared with one hypothesis speaker.
        reference_s: reference speech.
    """

    pure_s: float = 0.0
    hypothesis_s: float = 0.0
    covered_s: float = 0.0
    reference_s: float = 0.0

    @property
    def purity(self) -> float:
        """Share of hypothesis speech that is its label's main speaker; 1 without hypothesis speech."""
        return self.pure_s / self.hypothesis_s if self.hypothesis_s else 1.0

    @property
    def coverage(self) -> float:
        """Share of reference speech that is in its speaker's main label; 1 without reference speech."""
        return self.covered_s / self.reference_s if self.reference_s else 1.0


@dataclass(frozen=True)
class CountComponents(_Additive):
    """Speakers in the scored region, before any collar is removed. Components of several recordings add.

    Attributes:
        reference: speakers of the reference.
        hypothesis: speakers of the hypothesis.
        error: absolute difference of the two numbers, recording by recording.
        num_exact: recordings with the correct number.
        num_recordings: recordings.
    """

    reference: int = 0
    hypothesis: int = 0
    error: int = 0
    num_exact: int = 0
    num_recordings: int = 0

    @property
    def mean_error(self) -> float:
        """Mean absolute error of the number of speakers; 0 without recordings."""
        return self.error / self.num_recordings if self.num_recordings else 0.0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All figures of one recording, or of several together.

    Attributes:
        components: DER at the requested collar.
        nist: DER with `NIST_COLLAR_S` instead.
        jaccard: JER; as in dscore, neither collar nor skipped overlap applies to it.
        clusters: purity and coverage, to which they do not apply either.
        speakers: the number of speakers.
    """

    components: DerComponents
    nist: DerComponents
    jaccard: JerComponents
    clusters: ClusterComponents
    speakers: CountComponents


@dataclass(frozen=True, kw_only=True)
class RecordingScore(Figures):
    """The score of one recording.

    Attributes:
        recording: recording id.
        has_hypothesis: whether there is a hypothesis for this recording; if not, all of it counts as missed.
        num_merged_reference: turns of the reference that were merged with an overlapping earlier one of the
            same speaker.
        num_merged_hypothesis: the same for the hypothesis.
    """

    recording: str
    has_hypothesis: bool
    num_merged_reference: int
    num_merged_hypothesis: int


def total_figures(scores: Iterable[Figures]) -> Figures:
    """Add up the figures of several recordings; the rates of the sum are the corpus's."""
    scores = list(scores)
    return Figures(
        components=total_components(scores),
        nist=sum((score.nist for score in scores), DerComponents()),
        jaccard=sum((score.jaccard for score in scores), JerComponents()),
        clusters=sum((score.clusters for score in scores), ClusterComponents()),
        speakers=sum((score.speakers for score in scores), CountComponents()),
    )


def total_components(scores: Iterable[Figures]) -> DerComponents:
    """Add the components of several recordings; its ``der`` is the corpus's."""
    return sum((score.components for score in scores), DerComponents())


def score_recordings(
    reference: Mapping[str, Sequence[Turn]],
    hypothesis: Mapping[str, Sequence[Turn]],
    *,
    regions: Mapping[str, Regions] | None = None,
    unscored: Mapping[str, Regions] | None = None,
    collar_s: float = 0.0,
    skip_overlap: bool = False,
    ignore_extra: bool = False,
    jobs: int = 1,
) -> list[RecordingScore]:
    """Score every recording of the reference.

    Args:
        reference: turns by recording; a recording without turns is silent. Overlapping turns of the same
            speaker are merged.
        hypothesis: the same; a recording that it lacks counts as entirely missed.
        regions: scored region by recording (a UEM); None scores all speech.
        unscored: regions by recording that are excluded from all figures
            (`sdpn.metrics.exclusion`).
        collar_s: time not scored on **each side** of every reference boundary, in seconds: the collar of
            NIST's md-eval, and half of pyannote's, which is the total width.
        skip_overlap: exclude regions with two or more reference speakers from the DER.
        ignore_extra: ignore hypothesis recordings that the reference lacks. One without turns never counts as
            extra.
        jobs: number of processes; the result does not depend on it.

    Returns:
        scores, sorted by recording.

    Raises:
        InputError: the hypothesis has recordings that the reference lacks, or ``regions`` lacks a
            recording of the reference.
        ValueError: the collar is negative, or ``jobs`` is not positive.
    """
    if not 0 <= collar_s < float("inf"):
        raise ValueError(f"collar_s must be >= 0, not {collar_s}")
    if jobs < 1:
        raise ValueError(f"jobs must be >= 1, not {jobs}")
    extra = sorted(name for name, turns in hypothesis.items() if turns and name not in reference)
    if extra and not ignore_extra:
        raise InputError(
            f"the hypothesis has {_listed(extra)}, which is not in the reference",
            hint="check that the ids match, or ignore them with --ignore-extra",
        )
    if regions is not None and (unlisted := sorted(reference.keys() - regions.keys())):
        raise InputError(
            f"the UEM has no region for {_listed(unlisted)} of the reference",
            hint="add a line for every recording to score",
        )
    tasks = [
        (
            name,
            reference[name],
            hypothesis.get(name),
            None if regions is None else regions[name],
            () if unscored is None else unscored.get(name, ()),
        )
        for name in sorted(reference)
    ]
    score = partial(_score_recording, collar_s=collar_s, skip_overlap=skip_overlap)
    jobs = min(jobs, len(tasks))
    if jobs <= 1:
        return [score(task) for task in tasks]
    from pyannote.metrics import diarization  # noqa: F401  once, and not in every process after it is forked

    context = multiprocessing.get_context(_START_METHOD)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_share, initargs=(tasks,)) as pool:
        chunk = max(1, len(tasks) // (8 * jobs))
        return list(pool.map(partial(_score_shared, score), range(len(tasks)), chunksize=chunk))


_Task = tuple[str, Sequence[Turn], Sequence[Turn] | None, Regions | None, Regions]

#: Data of the worker processes; empty in the main process.
_shared_tasks: list[_Task] = []


def _share(tasks: list[_Task]) -> None:
    _shared_tasks.extend(tasks)


def _score_shared(score: Callable[[_Task], RecordingScore], at: int) -> RecordingScore:
    return score(_shared_tasks[at])


def _score_recording(task: _Task, *, collar_s: float, skip_overlap: bool) -> RecordingScore:
    name, *sides, regions, unscored = task
    given = [sorted(side or ()) for side in sides]
    reference, hypothesis = map(merge_overlaps, given)
    everything = speaker_states(reference, hypothesis, regions=regions, unscored=unscored)

    def der_at(collar_s: float) -> DerComponents:
        states = everything
        if collar_s:
            states = speaker_states(
                reference, hypothesis, regions=regions, unscored=unscored, collar_s=collar_s
            )
        return der_components(states.without_overlap() if skip_overlap else states)

    components = der_at(collar_s)
    num_reference, num_hypothesis = (
        int((side_s > 0).sum()) for side_s in (everything.reference_s, everything.hypothesis_s)
    )
    return RecordingScore(
        recording=name,
        components=components,
        nist=components if collar_s == NIST_COLLAR_S else der_at(NIST_COLLAR_S),
        jaccard=jer_components(everything),
        clusters=cluster_components(everything),
        speakers=CountComponents(
            reference=num_reference,
            hypothesis=num_hypothesis,
            error=abs(num_reference - num_hypothesis),
            num_exact=int(num_reference == num_hypothesis),
            num_recordings=1,
        ),
        has_hypothesis=sides[1] is not None,
        num_merged_reference=len(given[0]) - len(reference),
        num_merged_hypothesis=len(given[1]) - len(hypothesis),
    )


def der_components(states: SpeakerStates) -> DerComponents:
    """Count the errors of one recording.

    Hypothesis speakers are mapped one to one to reference speakers such that the total shared time is
    largest. In each state pyannote.metrics then counts correct, confused and missed speech and false alarms.
    Source: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan".
    """
    from pyannote.metrics.diarization import DiarizationErrorRate
    from scipy.optimize import linear_sum_assignment

    shared_s = states.cooccurrence_s
    speakers = -1 - np.arange(shared_s.shape[1])  # unlike every reference speaker
    for of_reference, of_hypothesis in zip(*linear_sum_assignment(-shared_s), strict=True):
        speakers[of_hypothesis] = of_reference
    metric = DiarizationErrorRate()
    detail = metric.init_components()
    for reference, hypothesis, duration_s in zip(
        states.reference, states.hypothesis, states.duration_s, strict=True
    ):
        counts, _ = metric.matcher_(np.flatnonzero(reference).tolist(), speakers[hypothesis].tolist())
        for part, count in counts.items():
            detail[part] += count * duration_s
    return DerComponents(
        missed_s=float(detail["missed detection"]),
        false_alarm_s=float(detail["false alarm"]),
        confusion_s=float(detail["confusion"]),
        total_s=float(detail["total"]),
    )


def jer_components(states: SpeakerStates) -> JerComponents:
    """Jaccard errors of the reference speakers of one recording.

    Speakers are paired one to one such that the sum of the errors is smallest; the error of a pair is 1 minus
    the time in which both speak over the time in which either does, and that of an unpaired speaker is 1.
    pyannote's ``JaccardErrorRate`` maximises the shared time instead, as for a DER; this is the pairing of
    dscore, which was used in the challenges.
    Source: Ryant et al., "Second DIHARD Challenge Evaluation Plan", 2019, and dscore,
    ``scorelib/metrics.py``.
    """
    from scipy.optimize import linear_sum_assignment

    spoken_s, found_s = states.reference_s, states.hypothesis_s
    speakers, labels = spoken_s > 0, found_s > 0
    shared_s = states.cooccurrence_s[speakers][:, labels]
    either_s = spoken_s[speakers][:, None] + found_s[labels] - shared_s
    errors = np.maximum(1 - shared_s / either_s, 0.0)  # no less for rounding: a perfect one is 0, not -0
    paired = linear_sum_assignment(errors)
    return JerComponents(
        error=float(errors[paired].sum()) + max(0, shared_s.shape[0] - shared_s.shape[1]),
        num_speakers=shared_s.shape[0],
        num_hypothesis=shared_s.shape[1],
    )


def cluster_components(states: SpeakerStates) -> ClusterComponents:
    """Purity and coverage of one recording, as pyannote's ``DiarizationPurity`` and ``DiarizationCoverage``.

    Hypothesis speech where the reference is silent is impure, and reference speech that was missed is not
    covered.
    """
    shared_s = states.cooccurrence_s
    return ClusterComponents(
        pure_s=float(shared_s.max(axis=0, initial=0.0).sum()),
        hypothesis_s=float(states.hypothesis_s.sum()),
        covered_s=float(shared_s.max(axis=1, initial=0.0).sum()),
        reference_s=float(states.reference_s.sum()),
    )


def _listed(names: Sequence[str]) -> str:
    """Up to three names, and their number."""
    shown = ", ".join(map(repr, names[:3]))
    return (
        f"recording {shown}"
        if len(names) == 1
        else f"{len(names)} recordings ({shown}{', …' * (len(names) > 3)})"
    )
