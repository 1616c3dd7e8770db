"""The summary table of a report: one row per label, and notes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sdpn.report.experiment import BASELINES, TRAINED, Experiment
from sdpn.report.results import Score

#: Shown where there is no value.
MISSING = "–"


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction as a percentage without its sign."""
    return MISSING if value is None else f"{100 * value:.{digits}f}"


def decimal(value: float | None, digits: int) -> str:
    """A number with a fixed number of decimals."""
    return MISSING if value is None else f"{value:.{digits}f}"


@dataclass(frozen=True)
class SummaryRow:
    """The figures of one label. Rates are fractions, None where nothing was measured.

    Attributes:
        label: the system, such as "trained".
        eer: equal error rate on the verification trials.
        min_dcf_001: minimal detection cost at a target prior of 0.01.
        min_dcf_005: the same at 0.05.
        der: diarization error rate over all recordings.
        missed: its part that is missed speech; the three parts add up to it.
        false_alarm: its part that is false alarm.
        confusion: its part that is confusion.
        real_time_factor: seconds of computation per second of audio.
    """

    label: str
    eer: float | None = None
    min_dcf_001: float | None = None
    min_dcf_005: float | None = None
    der: float | None = None
    missed: float | None = None
    false_alarm: float | None = None
    confusion: float | None = None
    real_time_factor: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, under `HEADER`."""
        return (
            self.label,
            percent(self.eer),
            decimal(self.min_dcf_001, 3),
            decimal(self.min_dcf_005, 3),
            *map(percent, (self.der, self.missed, self.false_alarm, self.confusion)),
            decimal(self.real_time_factor, 4),
        )


HEADER = (
    *("", "EER %", "minDCF(0.01)", "minDCF(0.05)"),
    *("DER %", "missed %", "false alarm %", "confusion %", "RTF"),
)


def summary_rows(experiment: Experiment) -> list[SummaryRow]:
    """One row for each label that has results, in the order in which labels are shown."""
    rows = []
    for label in experiment.labels:
        figures: dict[str, float | None] = {}
        if found := experiment.verifications.get(label):
            figures |= {name: getattr(found, name) for name in ("eer", "min_dcf_001", "min_dcf_005")}
        if score := experiment.scores.get(label):
            parts = {kind.replace(" ", "_"): score.total.rate(s) for kind, s in score.total.parts_s.items()}
            figures |= {"der": score.total.der, **parts}
        if diarization := experiment.diarizations.get(label):
            figures["real_time_factor"] = diarization.total.real_time_factor
        rows.append(SummaryRow(label, **figures))
    return rows


def summary_notes(experiment: Experiment) -> list[str]:
    """Notes on the rows: conditions, sizes, and rows that are not comparable."""
    notes = []
    verifications, scores = experiment.verifications, experiment.scores
    if verifications:
        sizes = {(v.num_target, v.num_nontarget): label for label, v in verifications.items()}
        counts = [f"{target:,} target and {other:,} non-target trials" for target, other in sizes]
        if len(sizes) == 1:
            notes.append(f"EER and minDCF over {counts[0]}.")
        else:
            notes.append(
                "Not comparable: the EERs come from different trials: "
                + _by_label((label, text) for text, label in zip(counts, sizes.values(), strict=True))
            )
    if scores:
        conditions = {score.settings: label for label, score in scores.items()}
        first = next(iter(scores.values()))
        if len(conditions) == 1:
            notes.append(f"DER: {der_conditions(first)}.")
        else:
            notes.append(
                "Not comparable: the DERs were scored differently: "
                + _by_label((label, der_conditions(scores[label])) for label in conditions.values())
            )
        recordings = {frozenset(file.recording for file in score.files) for score in scores.values()}
        if len(recordings) == 1:
            count = len(first.files)
            notes.append(
                f"{count} recording{'' if count == 1 else 's'} with {first.total.total_s:,.1f} s of scored "
                "reference speech; missed, false alarm and confusion are shares of it and add up to the DER."
            )
        else:
            notes.append("Not comparable: the DERs come from different sets of recordings.")
    notes += _worse(summary_rows(experiment))
    if experiment.diarizations:
        notes.append("RTF: real-time factor, seconds of computation per second of audio.")
    return notes


def _worse(rows: list[SummaryRow]) -> list[str]:
    """What is no better than what it should improve: a trained network, and what is added to a system."""
    by_label = {row.label: row for row in rows}
    notes = []
    for row in rows:
        # "trained-back-end" adds to "trained"; a trained network should beat an untrained one, and guessing
        below = {label for label in by_label if row.label.startswith(f"{label}-")}
        if row.label == TRAINED:
            below |= {*BASELINES} & by_label.keys()
        for other in sorted(below):
            for name, field in (("EER", "eer"), ("DER", "der")):
                ours, theirs = getattr(row, field), getattr(by_label[other], field)
                if ours is not None and theirs is not None and ours > theirs:
                    notes.append(
                        f"Worse: {row.label} has {percent(ours)} % {name}, more than {other} with "
                        f"{percent(theirs)} %."
                    )
    return notes


def der_conditions(score: Score) -> str:
    """The conditions of the DER: collar, overlap and UEM."""
    if score.collar_s:
        collar = (
            f"{score.collar_s:g} s on each side of every reference boundary are not scored "
            f"(md-eval -c {score.collar_s:g}, pyannote.metrics collar={2 * score.collar_s:g})"
        )
    else:
        collar = "no collar: reference boundaries are scored"
    overlap = "overlapping speech is excluded" if score.skip_overlap else "overlapping speech is scored"
    uem = (
        "no UEM: each recording is scored from its first turn to its last"
        if score.uem is None
        else f"only the regions of {score.uem.name} are scored"
    )
    return f"{collar}; {overlap}; {uem}"


def _by_label(texts: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{label}: {text}" for label, text in texts) + "."
