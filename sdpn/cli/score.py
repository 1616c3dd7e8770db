"""``sdpn score``: DER, JER, purity and coverage of RTTM files against references."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.numbers import at_least, seconds
from sdpn.cli.table import escape_markdown, format_markdown, format_table
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.io.rttm import Records
    from sdpn.metrics.diarization import DerComponents, Figures, RecordingScore
    from sdpn.metrics.resampling import PairedComparison
    from sdpn.metrics.speaker_states import Regions

DESCRIPTION = """\
Score RTTM files against references: the diarization error rate (DER) and its parts, missed speech, false
alarms and speaker confusion, with collar 0 and with NIST's ±0.25 s side by side; Jaccard error rate (JER),
purity and coverage; the number of speakers. Results are given for each recording, by number of reference
speakers, and in total with a bootstrap confidence interval.

Recordings are matched by the id inside the files. A recording without a hypothesis counts as entirely missed;
a hypothesis without a reference is an error. An empty file means that the recording it is named after has no
speech. Speaker labels need not agree: the best one-to-one mapping within each recording is used. Channels of
a recording are scored separately. Regions that the reference marks as NOSCORE or NON-LEX are not scored, as
in md-eval."""

EXAMPLE = """\
  sdpn score --ref meeting.ref.rttm --hyp out/meeting.rttm
  sdpn score --ref ref/ --hyp out/ --uem all.uem --collar 0.25 --skip-overlap
  sdpn score --ref ref/ --compare out/old/ out/new/ --markdown old-new.md"""

_CONFIDENCE = 0.95

OUTPUTS: dict[str, OutputKind] = {"markdown": "file", "csv": "file"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn score``."""
    parser.add_argument(
        "--ref", nargs="+", type=Path, required=True, metavar="RTTM",
        help="reference files, or folders of *.rttm",
    )  # fmt: skip
    systems = parser.add_mutually_exclusive_group(required=True)
    systems.add_argument(
        "--hyp", nargs="+", type=Path, metavar="RTTM", help="hypothesis files, or folders of *.rttm"
    )
    systems.add_argument(
        "--compare", nargs=2, type=Path, metavar=("A", "B"),
        help="compare two systems on the same references; each is a folder of *.rttm, an .rttm file, or a "
             "text file listing RTTM files, one per line",
    )  # fmt: skip
    parser.add_argument(
        "--uem", type=Path, metavar="UEM", help="regions to score ('recording channel start end')"
    )
    parser.add_argument(
        "--collar", type=seconds, metavar="S",
        help="seconds not scored on each side of a reference boundary, as in NIST's md-eval: 0.25 is the "
             "usual ±0.25 s, called collar=0.5 in pyannote.metrics (default: both 0 and 0.25)",
    )  # fmt: skip
    parser.add_argument(
        "--skip-overlap", action="store_true", help="exclude overlapping reference speech from scoring"
    )
    parser.add_argument(
        "--ignore-extra", action="store_true", help="ignore hypothesis recordings without a reference"
    )
    parser.add_argument(
        "--resamples", type=at_least(1), default=10_000, metavar="N",
        help="bootstrap resamples, and permutations of the permutation test (default: 10000)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="random seed of the resampling (default: 0)"
    )
    parser.add_argument(
        "--jobs", type=at_least(1), default=1, metavar="N", help="number of processes (default: 1)"
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the tables to FILE as Markdown"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write all figures to FILE as CSV")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score, print the tables, and return them."""
    from sdpn.cli.score_tables import as_csv, comparison_page, score_page
    from sdpn.io.atomic import atomic_write_text
    from sdpn.io.rttm import read_records
    from sdpn.io.uem import read_uem_channels

    reference_files = _rttm_files(args.ref)
    reference = read_records(reference_files)
    uem = None if args.uem is None else read_uem_channels(args.uem)
    if args.compare is None:
        systems = [_System("", _rttm_files(args.hyp))]
    else:
        systems = [_System(name, _system_files(path)) for name, path in zip("AB", args.compare, strict=True)]
    scores = [_score(system, reference, uem, args) for system in systems]
    documents = [
        {
            **_document(of_system, reference, args),
            "reference": [str(path.resolve()) for path in reference_files],
            "hypothesis": [str(path.resolve()) for path in system.files],
        }
        for system, of_system in zip(systems, scores, strict=True)
    ]
    results = documents[0]
    if args.compare is not None:
        comparison = _comparison(scores[0], scores[1], args)
        results = {**results, "compared_with": documents[1], "comparison": comparison}
    page = score_page(results) if args.compare is None else comparison_page(results)
    if args.markdown is not None:
        atomic_write_text(args.markdown, page.render(format_markdown, escape_markdown) + "\n")
    if args.csv is not None:
        names = [system.name for system in systems]
        atomic_write_text(args.csv, as_csv(dict(zip(names, documents, strict=True))))
    print(page.render(format_table))
    return results


@dataclass(frozen=True)
class _System:
    """The hypotheses of one system, and its name."""

    name: str
    files: list[Path]


def _rttm_files(paths: Iterable[Path]) -> list[Path]:
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
    from sdpn.io.text import numbered_lines

    if path.is_dir() or path.suffix == ".rttm":
        return _rttm_files([path])
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
    uem: Mapping[str, Mapping[str, Regions]] | None,
    args: argparse.Namespace,
) -> list[RecordingScore]:
    from sdpn.io.rttm import read_records
    from sdpn.metrics.channels import match_channels
    from sdpn.metrics.diarization import score_recordings

    try:
        sides = match_channels(reference, read_records(system.files), uem)
        return score_recordings(
            sides.reference,
            sides.hypothesis,
            regions=sides.regions,
            unscored=sides.unscored,
            collar_s=args.collar or 0.0,
            skip_overlap=args.skip_overlap,
            ignore_extra=args.ignore_extra,
            jobs=args.jobs,
        )
    except InputError as error:
        if not system.name or error.path is not None:
            raise
        raise InputError(f"{system.name}: {error.message}", hint=error.hint) from None


def _document(
    scores: Sequence[RecordingScore], reference: Records, args: argparse.Namespace
) -> dict[str, Any]:
    """What ``--json`` stores about one system."""
    from sdpn.metrics.diarization import total_figures

    unscored = sorted(
        recording
        for recording, marks in reference.marks.items()
        if any(mark.kind != "LEXEME" for mark in marks)
    )
    by_count: dict[int, list[RecordingScore]] = {}
    for score in scores:
        by_count.setdefault(score.speakers.reference, []).append(score)
    return {
        "files": [_row(score.recording, score, args) for score in scores],
        "by_num_speakers": [
            _row(f"{num} speaker{'s' * (num != 1)}", total_figures(by_count[num]), args)
            for num in sorted(by_count)
        ],
        "total": _row("total", total_figures(scores), args),
        "intervals": _intervals(scores, args),
        "collar_s": args.collar or 0.0,
        "skip_overlap": args.skip_overlap,
        "uem": None if args.uem is None else str(args.uem.resolve()),
        "with_unscored_regions": unscored,
        "conditions": _conditions(args.collar, args.skip_overlap, args.uem, unscored),
        "without_hypothesis": [score.recording for score in scores if not score.has_hypothesis],
        "with_merged_turns": {
            "reference": [score.recording for score in scores if score.num_merged_reference],
            "hypothesis": [score.recording for score in scores if score.num_merged_hypothesis],
        },
    }


def _row(name: str, figures: Figures, args: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = {"recording": name, **_der_row(figures.components)}
    if args.collar is None:
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


def _rates(
    scores: Sequence[RecordingScore], args: argparse.Namespace
) -> dict[str, list[tuple[float, float]]]:
    """The rates that get an interval: error and denominator in each recording."""
    rates = {"der": [(score.components.error_s, score.components.total_s) for score in scores]}
    if args.collar is None:
        rates["nist"] = [(score.nist.error_s, score.nist.total_s) for score in scores]
    rates["jer"] = [(score.jaccard.error, score.jaccard.num_speakers) for score in scores]
    return rates


def _intervals(scores: Sequence[RecordingScore], args: argparse.Namespace) -> dict[str, Any] | None:
    """Bootstrap intervals of the totals; None for a single recording."""
    import numpy as np

    from sdpn.metrics.resampling import bootstrap_interval

    intervals: dict[str, Any] = {"confidence": _CONFIDENCE, "resamples": args.resamples, "seed": args.seed}
    for name, parts in _rates(scores, args).items():
        interval = bootstrap_interval(
            *np.array(parts, dtype=np.float64).T,
            resamples=args.resamples,
            confidence=_CONFIDENCE,
            seed=args.seed,
        )
        if interval is None:
            return None
        intervals[name] = [interval.low, interval.high]
    return intervals


def _comparison(
    first: Sequence[RecordingScore], second: Sequence[RecordingScore], args: argparse.Namespace
) -> dict[str, Any]:
    """Paired tests of the first system against the second, by rate; None where there is nothing to test."""
    import numpy as np

    from sdpn.metrics.resampling import compare_paired

    tested: dict[str, PairedComparison | None] = {}
    for (name, of_first), of_second in zip(
        _rates(first, args).items(), _rates(second, args).values(), strict=True
    ):
        errors_a, totals = np.array(of_first, dtype=np.float64).T
        tested[name] = compare_paired(
            errors_a,
            np.array(of_second, dtype=np.float64)[:, 0],
            totals,
            resamples=args.resamples,
            confidence=_CONFIDENCE,
            seed=args.seed,
        )
    return {
        "systems": [str(path) for path in args.compare],
        "confidence": _CONFIDENCE,
        "resamples": args.resamples,
        "seed": args.seed,
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
