"""``sdpn score``: DER of RTTM files against references."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.table import format_table
from sdpn.errors import InputError

if TYPE_CHECKING:
    from sdpn.metrics.diarization import DerComponents

DESCRIPTION = """\
Compare RTTM files with references: missed speech, false alarms, speaker confusion and their sum over the
reference's speech, the diarization error rate (DER), for each recording and in total.

Recordings are joined by the id inside the files. One without a hypothesis counts as all missed; a
hypothesis without a reference is an error. An empty file stands for silence in the recording it is named
after. Speaker labels need not agree: the best one-to-one mapping in each recording counts."""

EXAMPLE = """\
  sdpn score --ref meeting.ref.rttm --hyp out/meeting.rttm
  sdpn score --ref ref/ --hyp out/ --uem all.uem --collar 0.25 --skip-overlap"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn score``."""
    parser.add_argument(
        "--ref", nargs="+", type=Path, required=True, metavar="RTTM",
        help="reference files, or folders of *.rttm",
    )  # fmt: skip
    parser.add_argument(
        "--hyp", nargs="+", type=Path, required=True, metavar="RTTM",
        help="hypothesis files, or folders of *.rttm",
    )  # fmt: skip
    parser.add_argument(
        "--uem", type=Path, metavar="UEM", help="regions to score ('recording channel start end')"
    )
    parser.add_argument(
        "--collar", type=_seconds, default=0.0, metavar="S",
        help="seconds forgiven on each side of a reference boundary, as in NIST's md-eval: 0.25 is the usual"
        " ±0.25 s, which pyannote.metrics calls collar=0.5 (default: 0)",
    )  # fmt: skip
    parser.add_argument("--skip-overlap", action="store_true", help="leave out overlapped reference speech")
    parser.add_argument(
        "--ignore-extra", action="store_true", help="leave out hypothesis recordings without a reference"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score, print the table, and return it."""
    from sdpn.io.rttm import read_rttms
    from sdpn.io.uem import read_uem
    from sdpn.metrics.diarization import score_recordings, total_components

    reference_files, hypothesis_files = _rttm_files(args.ref), _rttm_files(args.hyp)
    scores = score_recordings(
        read_rttms(reference_files),
        read_rttms(hypothesis_files),
        regions=None if args.uem is None else read_uem(args.uem),
        collar_s=args.collar,
        skip_overlap=args.skip_overlap,
        ignore_extra=args.ignore_extra,
    )
    files = [
        _row(score.recording, score.components, score.num_speakers_reference, score.num_speakers_hypothesis)
        for score in scores
    ]
    total = _row(
        "total",
        total_components(scores),
        sum(score.num_speakers_reference for score in scores),
        sum(score.num_speakers_hypothesis for score in scores),
    )
    conditions = _conditions(args.collar, args.skip_overlap, args.uem)
    missing = [score.recording for score in scores if not score.has_hypothesis]
    print(_table([*files, total]))
    print(f"\n{conditions}")
    if missing:
        print(f"No hypothesis, counted as all missed: {', '.join(missing)}.")
    return {
        "files": files,
        "total": total,
        "collar_s": args.collar,
        "skip_overlap": args.skip_overlap,
        "uem": None if args.uem is None else str(args.uem.resolve()),
        "conditions": conditions,
        "without_hypothesis": missing,
        "reference": [str(path.resolve()) for path in reference_files],
        "hypothesis": [str(path.resolve()) for path in hypothesis_files],
    }


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds >= 0")
    return value


def _rttm_files(paths: Iterable[Path]) -> list[Path]:
    """Replace each folder by the RTTM files in it."""
    files = []
    for path in paths:
        if path.is_dir():
            found = sorted(path.glob("*.rttm"))
            if not found:
                raise InputError("this folder holds no *.rttm file", path=path)
            files += found
        else:
            files.append(path)
    return files


def _row(name: str, components: DerComponents, num_reference: int, num_hypothesis: int) -> dict[str, Any]:
    return {
        "recording": name,
        "missed_s": components.missed_s,
        "false_alarm_s": components.false_alarm_s,
        "confusion_s": components.confusion_s,
        "total_s": components.total_s,
        "der": components.der,
        "num_speakers_reference": num_reference,
        "num_speakers_hypothesis": num_hypothesis,
    }


def _table(rows: Iterable[dict[str, Any]]) -> str:
    return format_table(
        ["recording", "speech s", "missed %", "false alarm %", "confusion %", "DER %", "speakers ref/hyp"],
        [
            [
                row["recording"],
                f"{row['total_s']:.2f}",
                *(
                    _percent(row[part], row["total_s"])
                    for part in ("missed_s", "false_alarm_s", "confusion_s")
                ),
                f"{100 * row['der']:.2f}",
                f"{row['num_speakers_reference']}/{row['num_speakers_hypothesis']}",
            ]
            for row in rows
        ],
    )


def _percent(part_s: float, total_s: float) -> str:
    if total_s:
        return f"{100 * part_s / total_s:.2f}"
    return f"{part_s:.2f} s" if part_s else "0.00"  # a share of no speech is no number: give the seconds


def _conditions(collar_s: float, skip_overlap: bool, uem: Path | None) -> str:
    """Say under which conditions the DER was computed; without them it is not comparable."""
    if collar_s:
        collar = (
            f"Collar {collar_s:g} s: {collar_s:g} s on each side of every reference boundary are not scored"
            f" (md-eval -c {collar_s:g}, pyannote.metrics collar={2 * collar_s:g})"
        )
    else:
        collar = "Collar 0 s: nothing is forgiven around the reference's boundaries"
    overlap = "left out" if skip_overlap else "scored"
    region = (
        f"only the regions of {uem} are scored"
        if uem is not None
        else "without a UEM each recording is scored from the first to the last instant that reference or"
        " hypothesis call speech"
    )
    return f"{collar}; overlapped speech is {overlap}; {region}."
