"""RTTM files against references: the figures that ``sdpn score`` prints, and two systems compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.io.rttm import Records, read_records
from sdpn.io.text import numbered_lines
from sdpn.io.uem import read_uem_channels
from sdpn.metrics.bootstrap import PairedComparison, bootstrap_interval, compare_paired
from sdpn.metrics.channels import match_channels
from sdpn.metrics.diarization import (
    DerComponents,
    Figures,
    RecordingScore,
    score_recordings,
    total_figures,
)

_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """How hypotheses are scored.

    Attributes:
        uem: file of the regions to score; None scores from the first to the last speech.
        collar_s: seconds not scored on each side of a reference boundary; None gives the DER with 0 and with
            0.25 s.
        skip_overlap: exclude overlapping reference speech.
        ignore_extra: ignore hypotheses without a reference.
        resamples: of the bootstrap, and permutations of the permutation test.
        seed: random seed of both.
        jobs: number of processes.
    """

    uem: Path | None = None
    collar_s: float | None = None
    skip_overlap: bool = False
    ignore_extra: bool = False
    resamples: int = 10_000
    seed: int = 0
    jobs: int = 1


_DEFAULTS = ScoreSettings()


def score(
    reference: Iterable[Path], hypothesis: Iterable[Path], settings: ScoreSettings = _DEFAULTS
) -> dict[str, Any]:
    """Score the RTTM files of a system against references.

    Args:
        reference: RTTM files, or folders of ``*.rttm``.
        hypothesis: the same of the system.
        settings: how.

    Returns:
        ``files``, ``by_num_speakers`` and ``total``: rows of figures, rates as fractions and times in
        seconds; ``intervals`` of the total (None for one recording); ``conditions`` in words; and which
        recordings were without a hypothesis, with merged turns or with unscored regions. All of it is plain
        JSON; `sdpn.evaluation.score_tables.score_page` makes tables of it.

    Raises:
        InputError: a file cannot be read, or the two sides do not belong together.
    """
    files = rttm_files(reference)
    return _of_system(_System("", rttm_files(hypothesis)), files, read_records(files), settings)[0]


def compare_systems(
    reference: Iterable[Path], first: Path, second: Path, settings: ScoreSettings = _DEFAULTS
) -> dict[str, Any]:
    """Compare two systems on the same references, by paired tests over recordings.

    Args:
        reference: RTTM files, or folders of ``*.rttm``.
        first: system A: a folder of ``*.rttm``, an ``.rttm`` file, or a text file that lists RTTM files.
        second: system B.
        settings: how.

    Returns:
        as `score` of A, and ``compared_with``, the same of B, and ``comparison``: for each rate the
        ``difference`` A - B, its interval (``low``, ``high``) and ``p_value``, or None where there is nothing
        to test.

    Raises:
        InputError: a file cannot be read, or the sides do not belong together.
    """
    files = rttm_files(reference)
    records = read_records(files)
    systems = [_System("A", _system_files(first)), _System("B", _system_files(second))]
    (of_first, scores_a), (of_second, scores_b) = (
        _of_system(system, files, records, settings) for system in systems
    )
    return {
        **of_first,
        "compared_with": of_second,
        "comparison": _comparison((first, scores_a), (second, scores_b), settings),
    }


@dataclass(frozen=True)
class _System:
    """The hypotheses of one system, and its name."""

    name: str
    files: list[Path]


def _of_system(
    system: _System, files: Sequence[Path], reference: Records, settings: ScoreSettings
) -> tuple[dict[str, Any], list[RecordingScore]]:
    scores = _score(system, reference, settings)
    document = {
        **_document(scores, reference, settings),
        "reference": [str(path.resolve()) for path in files],
        "hypothesis": [str(path.resolve()) for path in system.files],
    }
    return document, scores


def rttm_files(paths: Iterable[Path]) -> list[Path]:
    """Replace each folder by the RTTM files in it."""
    files = []
    for path in paths:
        if path.is_dir():
            found = sorted(path.glob("*.rttm"))
            if not found:
                raise InputError("this folder contains no *.rttm file", path=path)
            files += found
        else:
            files.append(path)
    return files


def _system_files(path: Path) -> list[Path]:
    """The RTTM files of a system: a folder, one file, or a list whose paths may be relative to it."""
    if path.is_dir() or path.suffix == ".rttm":
        return rttm_files([path])
    files = []
    for number, line in numbered_lines(path):
        file = path.parent / line
        if not file.is_file():
            raise InputError(
                f"no such RTTM file: {line!r}",
                path=path,
                line=number,
                hint="a file without the suffix .rttm is read as a list of RTTM files, one per line",
            )
        files.append(file)
    if not files:
        raise InputError("lists no RTTM file", path=path)
    return files


def _score(
    system: _System,
    reference: Records,
    settings: ScoreSettings,
) -> list[RecordingScore]:
    uem = None if settings.uem is None else read_uem_channels(settings.uem)
    try:
        sides = match_channels(reference, read_records(system.files), uem)
        return score_recordings(
            sides.reference,
            sides.hypothesis,
            regions=sides.regions,
            unscored=sides.unscored,
            collar_s=settings.collar_s or 0.0,
            skip_overlap=settings.skip_overlap,
            ignore_extra=settings.ignore_extra,
            jobs=settings.jobs,
        )
    except InputError as error:
        if not system.name or error.path is not None:
            raise
        raise InputError(f"{system.name}: {error.message}", hint=error.hint) from None


def _document(
    scores: Sequence[RecordingScore], reference: Records, settings: ScoreSettings
) -> dict[str, Any]:
    """Everything about one system."""
    unscored = sorted(
        recording
        for recording, marks in reference.marks.items()
        if any(mark.kind != "LEXEME" for mark in marks)
    )
    by_count: dict[int, list[RecordingScore]] = {}
    for score in scores:
        by_count.setdefault(score.speakers.reference, []).append(score)
    return {
        "files": [_row(score.recording, score, settings) for score in scores],
        "by_num_speakers": [
            _row(f"{num} speaker{'s' * (num != 1)}", total_figures(by_count[num]), settings)
            for num in sorted(by_count)
        ],
        "total": _row("total", total_figures(scores), settings),
        "intervals": _intervals(scores, settings),
        "collar_s": settings.collar_s or 0.0,
        "skip_overlap": settings.skip_overlap,
        "uem": None if settings.uem is None else str(settings.uem.resolve()),
        "with_unscored_regions": unscored,
        "conditions": _conditions(settings.collar_s, settings.skip_overlap, settings.uem, unscored),
        "without_hypothesis": [score.recording for score in scores if not score.has_hypothesis],
        "with_merged_turns": {
            "reference": [score.recording for score in scores if score.num_merged_reference],
            "hypothesis": [score.recording for score in scores if score.num_merged_hypothesis],
        },
    }


def _row(name: str, figures: Figures, settings: ScoreSettings) -> dict[str, Any]:
    row: dict[str, Any] = {"recording": name, **_der_row(figures.components)}
    if settings.collar_s is None:
        row["nist"] = _der_row(figures.nist)
    return {
        **row,
        "jer": figures.jaccard.jer,
        "purity": figures.clusters.purity,
        "coverage": figures.clusters.coverage,
        "num_speakers_reference": figures.speakers.reference,
        "num_speakers_hypothesis": figures.speakers.hypothesis,
        "speaker_count_error": figures.speakers.mean_error,
        "num_recordings": figures.speakers.num_recordings,
        "num_recordings_with_right_count": figures.speakers.num_exact,
    }


def _der_row(components: DerComponents) -> dict[str, float]:
    return {
        "missed_s": components.missed_s,
        "false_alarm_s": components.false_alarm_s,
        "confusion_s": components.confusion_s,
        "total_s": components.total_s,
        "der": components.der,
    }


def _rates(scores: Sequence[RecordingScore], settings: ScoreSettings) -> dict[str, list[tuple[float, float]]]:
    """The rates that get an interval: error and denominator in each recording."""
    rates = {"der": [(score.components.error_s, score.components.total_s) for score in scores]}
    if settings.collar_s is None:
        rates["nist"] = [(score.nist.error_s, score.nist.total_s) for score in scores]
    rates["jer"] = [(score.jaccard.error, score.jaccard.num_speakers) for score in scores]
    return rates


def _intervals(scores: Sequence[RecordingScore], settings: ScoreSettings) -> dict[str, Any] | None:
    """Bootstrap intervals of the totals; None for a single recording."""
    intervals: dict[str, Any] = {
        "confidence": _CONFIDENCE,
        "resamples": settings.resamples,
        "seed": settings.seed,
    }
    for name, parts in _rates(scores, settings).items():
        interval = bootstrap_interval(
            *np.array(parts, dtype=np.float64).T,
            resamples=settings.resamples,
            confidence=_CONFIDENCE,
            seed=settings.seed,
        )
        if interval is None:
            return None
        intervals[name] = [interval.low, interval.high]
    return intervals


def _comparison(
    first: tuple[Path, Sequence[RecordingScore]],
    second: tuple[Path, Sequence[RecordingScore]],
    settings: ScoreSettings,
) -> dict[str, Any]:
    """Paired tests of the first system against the second, by rate; None where there is nothing to test."""
    tested: dict[str, PairedComparison | None] = {}
    for (name, of_first), of_second in zip(
        _rates(first[1], settings).items(), _rates(second[1], settings).values(), strict=True
    ):
        errors_a, totals = np.array(of_first, dtype=np.float64).T
        tested[name] = compare_paired(
            errors_a,
            np.array(of_second, dtype=np.float64)[:, 0],
            totals,
            resamples=settings.resamples,
            confidence=_CONFIDENCE,
            seed=settings.seed,
        )
    return {
        "systems": [str(path) for path, _ in (first, second)],
        "confidence": _CONFIDENCE,
        "resamples": settings.resamples,
        "seed": settings.seed,
        **{
            name: None
            if test is None
            else {
                "difference": test.difference,
                "low": test.interval.low,
                "high": test.interval.high,
                "p_value": test.p_value,
                "is_exact": test.is_exact,
            }
            for name, test in tested.items()
        },
    }


def _conditions(collar_s: float | None, skip_overlap: bool, uem: Path | None, unscored: Sequence[str]) -> str:
    """The conditions under which the DER was computed; without them it is not comparable."""

    def forgiven(collar_s: float) -> str:
        return (
            f"{collar_s:g} s on each side of every reference boundary are not scored"
            f" (md-eval -c {collar_s:g}, pyannote.metrics collar={2 * collar_s:g})"
        )

    if collar_s:
        collar = f"Collar {collar_s:g} s: {forgiven(collar_s)}"
    else:
        collar = "Collar 0 s: reference boundaries are scored"
        if collar_s is None:
            collar += f"; ±0.25 s: {forgiven(0.25)}"
    overlap = "excluded" if skip_overlap else "scored"
    region = (
        f"only the regions of {uem} are scored"
        if uem is not None
        else "without a UEM, each recording is scored from the first to the last speech in the reference"
        " or hypothesis"
    )
    if unscored:
        others = f" and {len(unscored) - 1} more" if len(unscored) > 1 else ""
        region += f", without the NOSCORE and NON-LEX regions of the reference ({unscored[0]}{others})"
    only_der = (
        "; JER, purity and coverage use no collar and include overlap" if collar_s or skip_overlap else ""
    )
    return f"{collar}; overlapped speech is {overlap}; {region}{only_der}."
