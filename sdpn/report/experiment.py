"""The contents of an experiment folder for a report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sdpn.errors import InputError
from sdpn.report.checkpoints import has_checkpoints, read_checkpoint_log
from sdpn.report.events import EventLog, read_event_log
from sdpn.report.results import (
    BenchmarkResults,
    Diarization,
    ResultFile,
    Score,
    VerificationResults,
    read_results,
)

#: The label of the trained system, and of those that it should beat.
TRAINED, BASELINES = "trained", ("untrained", "one-speaker")


@dataclass(frozen=True)
class Experiment:
    """The contents of an experiment folder.

    Attributes:
        folder: where it is.
        results: every result document.
        runs: training run -> what it logged; a run is named by the folder that holds ``tensorboard``. A run
            without logs has prototype curves from its checkpoints.
        configurations: path below the folder -> text of every ``config.yaml``.
    """

    folder: Path
    results: tuple[ResultFile, ...]
    runs: dict[str, EventLog]
    configurations: dict[str, str]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def labels(self) -> list[str]:
        """The labels of the summary: trained, then any others, then untrained, then one-speaker."""
        summed = (VerificationResults, Score, Diarization)
        found = {file.label for file in self.results if isinstance(file.results, summed)}
        others = sorted(found - {TRAINED, *BASELINES})
        return [label for label in (TRAINED, *others, *BASELINES) if label in found]

    @property
    def verifications(self) -> dict[str, VerificationResults]:
        """Label -> results of ``verify``, in the order of `labels`."""
        return self._of(VerificationResults)

    @property
    def scores(self) -> dict[str, Score]:
        """Label -> results of ``score``, in the order of `labels`."""
        return self._of(Score)

    @property
    def diarizations(self) -> dict[str, Diarization]:
        """Label -> results of ``diarize``, in the order of `labels`."""
        return self._of(Diarization)

    @property
    def benchmarks(self) -> dict[str, BenchmarkResults]:
        """Label -> results of ``benchmark``, in alphabetical order."""
        return {
            file.label: file.results for file in self.results if isinstance(file.results, BenchmarkResults)
        }

    def _of(self, kind: type) -> dict:
        found = {file.label: file.results for file in self.results if isinstance(file.results, kind)}
        return {label: found[label] for label in self.labels if label in found}


def read_experiment(folder: Path) -> Experiment:
    """Read the results, training logs and configurations below ``folder``.

    Raises:
        InputError: there is no such folder, it holds nothing to report, or a file in it is malformed.
    """
    if not folder.is_dir():
        raise InputError("no such experiment folder", path=folder, hint="give a folder written by sdpn train")
    results = tuple(read_results(folder / "results"))
    runs: dict[str, EventLog] = {}
    configurations: dict[str, str] = {}
    for parent, subfolders, files in os.walk(folder):
        subfolders.sort()
        here = Path(parent)
        run = _run_name(here, folder)
        if "tensorboard" in subfolders:
            subfolders.remove("tensorboard")
            if log := read_event_log(here / "tensorboard"):
                runs[run] = log
        if (
            run not in runs
            and has_checkpoints(here, subfolders, files)
            and (log := read_checkpoint_log(here))
        ):
            runs[run] = log
        if "config.yaml" in files:
            path = here / "config.yaml"
            configurations[path.relative_to(folder).as_posix()] = path.read_text("utf-8", errors="replace")
    if not results and not runs:
        raise InputError(
            "contains nothing to report: no results/<command>.<label>.json, no tensorboard/ with events, "
            "and no checkpoints with prototypes",
            path=folder,
            hint="write results into it, for example with sdpn verify … --json "
            "EXP/results/verify.trained.json",
        )
    return Experiment(folder, results, runs, configurations)


def _run_name(here: Path, folder: Path) -> str:
    run = here.relative_to(folder).as_posix()
    return "" if run == "." else run
