"""An experiment folder as one page: what ``sdpn report`` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdpn.io.atomic import atomic_write_text, check_writable
from sdpn.report.experiment import read_experiment
from sdpn.report.page import build_page
from sdpn.report.results import BenchmarkResults
from sdpn.report.summary import SummaryRow, summary_notes, summary_rows


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """A page and the summary on it.

    Attributes:
        path: of the page.
        rows: of its table of error rates.
        notes: on what is missing or not comparable.
        benchmarks: results of ``sdpn benchmark``, by label.
    """

    path: Path
    rows: list[SummaryRow]
    notes: list[str]
    benchmarks: dict[str, BenchmarkResults]


def write_report(folder: Path, out: Path | None = None) -> WrittenReport:
    """Summarise an experiment folder in one self-contained HTML page.

    Args:
        folder: the experiment.
        out: the page; None: ``report.html`` in the folder.

    Raises:
        InputError: the folder or a file in it cannot be read, or the page cannot be written.
    """
    page = folder / "report.html" if out is None else out
    if folder.is_dir():
        check_writable(page)
    experiment = read_experiment(folder)
    atomic_write_text(page, build_page(experiment))
    return WrittenReport(
        path=page,
        rows=summary_rows(experiment),
        notes=summary_notes(experiment),
        benchmarks=experiment.benchmarks,
    )
