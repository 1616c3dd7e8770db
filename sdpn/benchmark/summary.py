"""From finished cells to figures: values with intervals, and paired differences between models.

Intervals are of 95 %, by bootstrap: of an EER over speakers, of a DER or a count over conversations of all
seeds together (those of one seed draw from the same speakers, but few speakers are in two of them), of clips
over clips. Differences are paired: both models have the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sdpn.benchmark.figures import Row, Value
from sdpn.benchmark.measure import GROUP, Outcome
from sdpn.benchmark.plan import CONVERSATION_CONDITIONS, DEV_CORPORA, MANIFEST, Cell
from sdpn.metrics.bootstrap import bootstrap_interval, compare_paired, percentile_interval
from sdpn.metrics.eer_interval import resampled_eers
from sdpn.metrics.verification import equal_error_rate, error_rates

_CONFIDENCE = 0.95

#: Conversations of both corpora together.
BOTH = "both"


#: Errors and totals (N,) of the recordings of a cell, whose sums are divided.
_Ratio = Callable[[Outcome], tuple[np.ndarray, np.ndarray]]


def _ones(outcome: Outcome) -> np.ndarray:
    return np.ones(len(outcome["total_s"]))


#: Figures of diarized recordings, with the factor that makes them percent.
_DIARIZATION: dict[str, tuple[_Ratio, float]] = {
    "DER %, collar 0": (lambda it: (it["error_s"], it["total_s"]), 100.0),
    "DER %, ±0.25 s, no overlap": (lambda it: (it["nist_error_s"], it["nist_total_s"]), 100.0),
    "exact number of speakers, %": (
        lambda it: ((it["hypothesis_speakers"] == it["reference_speakers"]).astype(float), _ones(it)),
        100.0,
    ),
    "bias of the number of speakers": (
        lambda it: ((it["hypothesis_speakers"] - it["reference_speakers"]).astype(float), _ones(it)),
        1.0,
    ),
}


def summarise(cells: Sequence[Cell], outcomes: Sequence[Mapping[Cell, Outcome]]) -> list[Row]:
    """Make figures of finished cells.

    Args:
        cells: of one model.
        outcomes: of each model.
    """
    rows: list[Row] = []
    for cell in cells:
        if cell.part == "eer":
            of_cell = [each[cell] for each in outcomes]
            rows += _verification(cell.corpus, cell.condition, of_cell)
            for name in of_cell[0]:
                if name.startswith(GROUP):
                    condition = f"{cell.condition}, {name.removeprefix(GROUP)}"
                    rows += _verification(cell.corpus, condition, [_chosen(each, name) for each in of_cell])
    rows += _conversations(cells, outcomes)
    for cell in cells:
        if cell.part == "ami" or cell.corpus == MANIFEST:
            rows += _diarization(cell.part, cell.corpus, cell.condition, [[each[cell]] for each in outcomes])
    for cell in cells:
        if cell.part == "cost":
            rows.append(_cost([each[cell] for each in outcomes]))
    return rows


def _verification(corpus: str, condition: str, outcomes: Sequence[Outcome]) -> Iterator[Row]:
    for scores in ("cosine", "back end"):
        drawn = [_resampled(each, scores) if scores in each else None for each in outcomes]
        values = [
            None if scores not in outcome else _eer(outcome, scores, own, drawn[0] if number else None)
            for number, (outcome, own) in enumerate(zip(outcomes, drawn, strict=True))
        ]
        # the first model is what others differ from
        for number in range(1, len(values)):
            of, to = values[number], values[0]
            if of is not None and to is not None:
                values[number] = replace(of, difference=of.value - to.value)
        if any(values):
            yield Row(
                part="eer",
                corpus=corpus,
                condition=condition,
                figure=f"EER %, {scores}",
                values=tuple(values),
            )


def _chosen(outcome: Outcome, group: str) -> Outcome:
    """The trials of a group, its speakers numbered from 0."""
    trials = {name: values[outcome[group]] for name, values in outcome.items() if not name.startswith(GROUP)}
    _names, numbers = np.unique(np.stack([trials["first"], trials["second"]]), return_inverse=True)
    first, second = numbers.reshape(2, -1)
    return {**trials, "first": first, "second": second}


def _resampled(outcome: Outcome, scores: str) -> np.ndarray:
    return 100 * resampled_eers(outcome[scores], outcome["is_target"], outcome["first"], outcome["second"])


def _eer(outcome: Outcome, scores: str, drawn: np.ndarray | None, first: np.ndarray | None) -> Value:
    assert drawn is not None
    interval = percentile_interval(drawn, _CONFIDENCE)
    between = None if first is None else percentile_interval(drawn - first, _CONFIDENCE)
    return Value(
        value=100 * equal_error_rate(error_rates(outcome[scores], outcome["is_target"]))[0],
        low=interval.low,
        high=interval.high,
        difference_low=None if between is None else between.low,
        difference_high=None if between is None else between.high,
    )


def _conversations(cells: Sequence[Cell], outcomes: Sequence[Mapping[Cell, Outcome]]) -> Iterator[Row]:
    for corpus, members in (*((corpus, [corpus]) for corpus in DEV_CORPORA), (BOTH, list(DEV_CORPORA))):
        for condition in CONVERSATION_CONDITIONS:
            by_seed: dict[int, list[Cell]] = {}
            for cell in cells:
                if cell.part == "der" and cell.corpus in members and cell.condition == condition:
                    assert cell.seed is not None
                    by_seed.setdefault(cell.seed, []).append(cell)
            if by_seed:
                yield from _diarization(
                    "der",
                    corpus,
                    condition,
                    [
                        [_together([each[cell] for cell in seed_cells]) for seed_cells in by_seed.values()]
                        for each in outcomes
                    ],
                )


def _diarization(
    part: str, corpus: str, condition: str, outcomes: Sequence[Sequence[Outcome]]
) -> Iterator[Row]:
    """Rows of recordings, in groups of one seed, for each model."""
    for figure, (ratio, factor) in _DIARIZATION.items():
        values: list[Value | None] = []
        first: np.ndarray | None = None
        for groups in outcomes:
            errors, totals = ratio(_together(groups))
            interval = bootstrap_interval(errors, totals, confidence=_CONFIDENCE)
            compared = (
                None if first is None else compare_paired(errors, first, totals, confidence=_CONFIDENCE)
            )
            seeds = [factor * _share(*ratio(group)) for group in groups]
            values.append(
                Value(
                    value=factor * _share(errors, totals),
                    low=None if interval is None else factor * interval.low,
                    high=None if interval is None else factor * interval.high,
                    seeds=tuple(seeds) if len(seeds) > 1 else (),
                    difference=None if compared is None else factor * compared.difference,
                    difference_low=None if compared is None else factor * compared.interval.low,
                    difference_high=None if compared is None else factor * compared.interval.high,
                )
            )
            first = errors if first is None else first
        yield Row(part=part, corpus=corpus, condition=condition, figure=figure, values=tuple(values))


def _cost(outcomes: Sequence[Outcome]) -> Row:
    rates = [3600 * float(each["cpu_s"].sum() / each["audio_s"].sum()) for each in outcomes]
    return Row(
        part="cost",
        corpus=DEV_CORPORA[0],
        condition="dry",
        figure="CPU s per hour of audio",
        values=tuple(Value(value=rate) for rate in rates),
    )


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    return {name: np.concatenate([each[name] for each in outcomes]) for name in outcomes[0]}


def _share(errors: np.ndarray, totals: np.ndarray) -> float:
    return float(errors.sum() / totals.sum()) if totals.sum() else 0.0
