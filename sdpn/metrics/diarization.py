"""Diarization error rate: missed speech, false alarms and confusion over the reference's speech.

The computation is `pyannote.metrics`'; this module joins recordings, fixes the conventions that make two
DERs comparable (collar, overlap, scored region), and keeps the components, which add where percentages
do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdpn.errors import InputError
from sdpn.io.rttm import Turn, to_annotation

if TYPE_CHECKING:
    from pyannote.core import Annotation

#: (start_s, end_s) of the scored stretches of one recording; they may overlap.
Regions = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class DerComponents:
    """What a DER is made of, in seconds. Components of several recordings add.

    Attributes:
        missed_s: reference speech without a hypothesis.
        false_alarm_s: hypothesis speech without a reference.
        confusion_s: speech given to the wrong speaker.
        total_s: reference speech; two people at once count twice.
    """

    missed_s: float = 0.0
    false_alarm_s: float = 0.0
    confusion_s: float = 0.0
    total_s: float = 0.0

    def __add__(self, other: DerComponents) -> DerComponents:
        return DerComponents(
            self.missed_s + other.missed_s,
            self.false_alarm_s + other.false_alarm_s,
            self.confusion_s + other.confusion_s,
            self.total_s + other.total_s,
        )

    @property
    def error_s(self) -> float:
        """The three errors together."""
        return self.missed_s + self.false_alarm_s + self.confusion_s

    @property
    def der(self) -> float:
        """Diarization error rate as a fraction, which exceeds 1 when false alarms are many.

        Without reference speech it is pyannote's convention: 0 without a hypothesis, otherwise 1.
        """
        if self.total_s == 0:
            return 0.0 if self.error_s == 0 else 1.0
        return self.error_s / self.total_s


@dataclass(frozen=True, kw_only=True)
class RecordingScore:
    """The score of one recording.

    Attributes:
        recording: recording id.
        components: its errors.
        num_speakers_reference: speakers who talk in the scored region (before any collar is cut out).
        num_speakers_hypothesis: the same for the hypothesis.
        has_hypothesis: whether the hypotheses held this recording; if not, all of it is missed.
    """

    recording: str
    components: DerComponents
    num_speakers_reference: int
    num_speakers_hypothesis: int
    has_hypothesis: bool


def der_components(
    reference: Annotation,
    hypothesis: Annotation,
    *,
    regions: Regions | None = None,
    collar_s: float = 0.0,
    skip_overlap: bool = False,
) -> DerComponents:
    """Score one recording.

    Args:
        reference: who spoke when.
        hypothesis: who was found to speak when; labels need not match, the best one-to-one mapping counts.
        regions: the scored region; None scores the extent of reference and hypothesis together.
        collar_s: what is forgiven on **each side** of every reference boundary, in seconds: the collar
            of NIST's md-eval, and half of pyannote's, which is the total width.
        skip_overlap: leave out where the reference has two or more speakers.

    Raises:
        ValueError: the collar is negative.
    """
    from pyannote.core import Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    if not 0 <= collar_s < float("inf"):
        raise ValueError(f"collar_s must be >= 0, not {collar_s}")
    if regions is None:
        # what pyannote does as well, but with a warning for each recording
        extent = reference.get_timeline(copy=False).extent() | hypothesis.get_timeline(copy=False).extent()
        scored = Timeline([extent] if extent else [])
    else:
        scored = Timeline([Segment(start_s, end_s) for start_s, end_s in regions]).support()
    metric = DiarizationErrorRate(collar=2 * collar_s, skip_overlap=skip_overlap)
    detail = metric.compute_components(reference, hypothesis, uem=scored)
    return DerComponents(
        missed_s=float(detail["missed detection"]),
        false_alarm_s=float(detail["false alarm"]),
        confusion_s=float(detail["confusion"]),
        total_s=float(detail["total"]),
    )


def score_recordings(
    reference: Mapping[str, Sequence[Turn]],
    hypothesis: Mapping[str, Sequence[Turn]],
    *,
    regions: Mapping[str, Regions] | None = None,
    collar_s: float = 0.0,
    skip_overlap: bool = False,
    ignore_extra: bool = False,
) -> list[RecordingScore]:
    """Score every recording of the reference.

    Args:
        reference: turns by recording; a recording without turns is silent.
        hypothesis: the same; a recording that it lacks is missed altogether.
        regions: scored region by recording (a UEM); None as in `der_components`.
        collar_s: as in `der_components`.
        skip_overlap: as in `der_components`.
        ignore_extra: leave out hypothesis recordings that the reference lacks. One without turns does
            no harm and never counts as extra.

    Returns:
        scores in the order of the recordings' names.

    Raises:
        InputError: the hypothesis has recordings that the reference lacks, or ``regions`` lacks a
            recording of the reference.
    """
    extra = sorted(name for name, turns in hypothesis.items() if turns and name not in reference)
    if extra and not ignore_extra:
        raise InputError(
            f"the hypothesis has {_listed(extra)}, which the reference lacks",
            hint="are the ids spelled alike? --ignore-extra scores without",
        )
    if regions is not None and (unlisted := sorted(reference.keys() - regions.keys())):
        raise InputError(
            f"the UEM has no region for {_listed(unlisted)} of the reference",
            hint="give it a line for every recording that is scored",
        )
    scores = []
    for recording in sorted(reference):
        turns = reference[recording], hypothesis.get(recording, ())
        region = None if regions is None else regions[recording]
        scores.append(
            RecordingScore(
                recording=recording,
                components=der_components(
                    *(to_annotation(side, recording) for side in turns),
                    regions=region,
                    collar_s=collar_s,
                    skip_overlap=skip_overlap,
                ),
                num_speakers_reference=count_speakers(turns[0], region),
                num_speakers_hypothesis=count_speakers(turns[1], region),
                has_hypothesis=recording in hypothesis,
            )
        )
    return scores


def total_components(scores: Iterable[RecordingScore]) -> DerComponents:
    """Add the components of several recordings; its ``der`` is the corpus's."""
    return sum((score.components for score in scores), DerComponents())


def count_speakers(turns: Iterable[Turn], regions: Regions | None = None) -> int:
    """Number of speakers who talk, within ``regions`` where they are given."""
    return len(
        {
            turn.speaker
            for turn in turns
            if regions is None
            or any(turn.onset_s < end_s and start_s < turn.end_s for start_s, end_s in regions)
        }
    )


def _listed(names: Sequence[str]) -> str:
    """Up to three names, and how many there are."""
    shown = ", ".join(map(repr, names[:3]))
    return (
        f"recording {shown}"
        if len(names) == 1
        else f"{len(names)} recordings ({shown}{', …' * (len(names) > 3)})"
    )
