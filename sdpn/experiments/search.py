"""Search the settings of a training: run it with each, measure all on the same figure, choose.

What is measured to choose is too good for the choice. So held-out trials on which nothing was chosen can be
given, on which the training as it was given and the choice are compared, once, at the end.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.tuning.proposals import Proposals, key_of
from sdpn.tuning.trials import read_trials_table, write_trials_table

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchTrial:
    """A run of the training with some settings.

    Attributes:
        settings: those that were changed, ``section.key`` -> value.
        figure: what it is judged by; None if the run failed.
        folder: of the run, below that of the search.
        seconds: that it took.
        results: all numbers that the run returned.
        error: why it failed; empty if it did not.
    """

    settings: dict[str, object]
    figure: float | None
    folder: str
    seconds: float
    results: dict[str, float]
    error: str = ""

    @classmethod
    def of(cls, line: dict[str, Any]) -> SearchTrial:
        """From its line of the table."""
        figure = line["figure"]
        return cls(
            settings=dict(line["settings"]),
            figure=None if figure is None else float(figure),
            folder=str(line["folder"]),
            seconds=float(line["seconds"]),
            results={str(name): float(value) for name, value in line["results"].items()},
            error=str(line["error"]),
        )


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What was tried and chosen.

    Attributes:
        trials: in the order they were tried; the first is the training as it was given.
        best: of equal ones the first.
    """

    trials: list[SearchTrial]
    best: SearchTrial


def search(
    proposals: Proposals,
    configuration: Callable[[Mapping[str, object]], str],
    train: Callable[[Mapping[str, object], Path], dict[str, Any]],
    measure: Callable[[dict[str, Any]], float],
    out: Path,
    *,
    made_from: str,
    smallest: bool,
    force: bool = False,
    on_trial: Callable[[int, SearchTrial], None] = lambda _number, _trial: None,
) -> Searched:
    """Run a training with what is proposed; ``OUT/trials.jsonl`` has every run that is finished.

    A search that was stopped goes on: what is in the table is not run again, and the run that was stopped is
    started in its folder, where the training resumes it.

    Args:
        proposals: from `sdpn.tuning.proposals.propose`.
        configuration: of the training with some settings, as text: settings that change nothing are not
            run.
        train: runs the training with changed settings into a folder; returns its results. An `InputError` is
            a run that failed (a loss that is NaN), unless it is the first one.
        measure: the figure of a run from its results.
        out: folder of the table and of ``runs/``.
        made_from: digest of all that the figures depend on but the settings.
        smallest: whether small figures are good.
        force: start again.
        on_trial: called with the number of each run and what it gave.

    Raises:
        InputError: a table of another search is in ``out``, the first run fails, or no run gives a figure.
    """
    table = out / "trials.jsonl"
    before = {} if force else {
        key_of(one.settings): one for one in read_trials_table(table, made_from, SearchTrial.of)
    }  # fmt: skip
    tried: dict[str, SearchTrial] = {}
    settings = next(proposals)
    while True:
        key = configuration(settings)
        if key not in tried:
            one = before.get(key_of(settings))
            is_new = one is None
            if one is None:
                if force:  # or the training would go on from what is there
                    shutil.rmtree(out / f"runs/{len(tried):03d}", ignore_errors=True)
                one = _run(settings, out, f"runs/{len(tried):03d}", train, measure, first=not tried)
            tried[key] = one
            if is_new:
                write_trials_table(table, made_from, list(tried.values()))
            on_trial(len(tried), one)
        figure = tried[key].figure
        try:
            settings = proposals.send(math.nan if figure is None else figure)
        except StopIteration:
            break
    known = [one for one in tried.values() if one.figure is not None]
    if not known:
        raise InputError("no run gives a figure", path=table, hint="the table says why")
    best = (min if smallest else max)(known, key=lambda one: float(one.figure or 0.0))
    return Searched(trials=list(tried.values()), best=best)


def _run(
    settings: Mapping[str, object],
    out: Path,
    folder: str,
    train: Callable[[Mapping[str, object], Path], dict[str, Any]],
    measure: Callable[[dict[str, Any]], float],
    *,
    first: bool,
) -> SearchTrial:
    start = time.monotonic()
    try:
        found = train(settings, out / folder)
        figure = float(measure(found))
    except InputError as error:
        if first:  # not the settings that are tried, but the command itself
            raise
        _log.warning("%s failed: %s", folder, error)
        return SearchTrial(dict(settings), None, folder, time.monotonic() - start, {}, str(error))
    numbers = {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
    seconds = time.monotonic() - start
    if not math.isfinite(figure):
        return SearchTrial(dict(settings), None, folder, seconds, numbers, "its figure is not finite")
    return SearchTrial(dict(settings), figure, folder, seconds, numbers)


def choice_as_yaml(settings: Mapping[str, object], base: Path | None) -> str:
    """The choice as a configuration file, on the one that the training was given."""
    import yaml

    document: dict[str, Any] = {} if base is None else {"base": str(base.resolve())}
    for key, value in settings.items():
        *sections, last = key.split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return "# --config THIS\n" + (yaml.safe_dump(document, sort_keys=False) if document else "{}\n")
