"""``sdpn score``: DER, JER, purity and coverage of RTTM files against references."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdpn.cli.numbers import at_least, seconds
from sdpn.cli.table import escape_markdown, format_markdown, format_table
from sdpn.io.atomic import OutputKind

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
    from sdpn.evaluation.score import ScoreSettings, compare_systems, score
    from sdpn.evaluation.score_tables import as_csv, comparison_page, score_page
    from sdpn.io.atomic import atomic_write_text

    settings = ScoreSettings(
        uem=args.uem,
        collar_s=args.collar,
        skip_overlap=args.skip_overlap,
        ignore_extra=args.ignore_extra,
        resamples=args.resamples,
        seed=args.seed,
        jobs=args.jobs,
    )
    if args.compare is None:
        results = score(args.ref, args.hyp, settings)
        page, systems = score_page(results), {"": results}
    else:
        results = compare_systems(args.ref, args.compare[0], args.compare[1], settings)
        page, systems = comparison_page(results), {"A": results, "B": results["compared_with"]}
    if args.markdown is not None:
        atomic_write_text(args.markdown, page.render(format_markdown, escape_markdown) + "\n")
    if args.csv is not None:
        atomic_write_text(args.csv, as_csv(systems))
    print(page.render(format_table))
    return results
