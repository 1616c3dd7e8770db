"""``sdpn report``: an experiment folder as one offline HTML page."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Summarise an experiment folder in one self-contained HTML page: error rates next to the baselines, a timeline
of every scored recording, training and prototype curves, and the commands and configuration behind them. Also
prints the table of error rates.

Reads any tensorboard/ folder below EXP, and EXP/results/<command>.<label>.json as written with --json by
verify, score, diarize and benchmark, with labels such as trained, untrained or one-speaker. For a training
run without tensorboard/, prototype curves are computed from the checkpoints."""

EXAMPLE = """\
  sdpn verify --trials dev/trials --embeddings dev.scp --json exp/mini/results/verify.trained.json
  sdpn score --ref ref/ --hyp exp/mini/rttm/ --json exp/mini/results/score.trained.json
  sdpn report exp/mini"""

OUTPUTS: dict[str, OutputKind] = {"out": "file"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn report``."""
    parser.add_argument("experiment", type=Path, metavar="EXP", help="experiment folder")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="HTML file to write (default: EXP/report.html)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the page, print the table, and return both."""
    from sdpn.cli.table import format_table
    from sdpn.report.report import write_report
    from sdpn.report.summary import HEADER

    report = write_report(args.experiment, args.out)
    if report.rows:
        print(format_table(HEADER, [row.cells for row in report.rows]), end="\n\n")
    for note in report.notes:
        print(note)
    for label, benchmark in report.benchmarks.items():
        print(f"\nbenchmark: {label}")
        print(format_table(benchmark.header, benchmark.lines))
    print(f"report: {report.path}")
    return {"report": str(report.path.resolve()), "rows": list(map(asdict, report.rows))}
