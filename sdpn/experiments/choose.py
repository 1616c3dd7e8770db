"""Settings of a training, chosen on held-out speakers or on a figure of its own, and tested on others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.experiments.held_out import HeldOutTrials, ScoreComparison
from sdpn.experiments.search import Searched, SearchTrial, choice_as_yaml, search
from sdpn.experiments.search_picture import draw_search
from sdpn.interop.load import load_model
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.kaldi import Utterance
from sdpn.progress import Report, unreported
from sdpn.training.comparison import refuse_shared_speech
from sdpn.tuning.proposals import Strategy, propose
from sdpn.tuning.values import Range, Space


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What was tried, chosen and tested.

    Attributes:
        searched: every run, and the best.
        figure: name of what they are judged by.
        smallest: whether small figures are good.
        tested: the choice on the test, against the training as given; None without a test, or where the
            training as given is the choice.
    """

    searched: Searched
    figure: str
    smallest: bool
    tested: ScoreComparison | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        found = self.searched
        results: dict[str, Any] = {
            "figure": self.figure,
            "smallest_is_best": self.smallest,
            "trials": [asdict(one) for one in found.trials],
            "best": found.best.settings,
            "best_figure": found.best.figure,
            "given_figure": found.trials[0].figure,
        }
        if self.tested is not None:
            results["test"] = self.tested.to_dict()
        return results


def choose_settings(
    configuration: Callable[[Mapping[str, object]], str],
    train: Callable[[Mapping[str, object], Path], dict[str, Any]],
    space: Space,
    out: Path,
    *,
    dev: HeldOutTrials | None = None,
    figure: str | None = None,
    smallest: bool = False,
    test: HeldOutTrials | None = None,
    speech: Sequence[Utterance] = (),
    strategy: Strategy = "grid",
    runs: int | None = None,
    seed: int = 0,
    base: Path | None = None,
    made_from: str,
    force: bool = False,
    on_trial: Callable[[int, SearchTrial], None] = lambda _number, _trial: None,
    on_progress: Report = unreported,
) -> Chosen:
    """Run a training as it is given and with other settings, choose the best, and test the choice once.

    Writes ``OUT/trials.jsonl`` after every run, ``OUT/settings.yaml`` and ``OUT/search.png`` at the end;
    called again, it goes on from the table.

    Args:
        configuration: all settings of the training, with some changed, as text; an `InputError` where one is
            wrong, which is asked before anything is run.
        train: runs it with changed settings into a folder; its results name the ``model``.
        space: what is tried for each setting.
        out: the folder.
        dev: trials whose EER by cosine runs are judged by.
        figure: or else the name of a number in their results.
        smallest: whether a small ``figure`` is good.
        test: trials of other speakers.
        speech: what is trained on, which may share no recording with ``dev`` and ``test``.
        strategy: see `sdpn.tuning.proposals.propose`.
        runs: at most so many, the training as given included; None for all of a grid.
        seed: of the proposals.
        base: the configuration file that the training was given, for ``settings.yaml``.
        made_from: identifies the training: a table of another one is refused.
        force: start again.
        on_trial: called with the number of each run and what it gave.
        on_progress: called while models are measured.

    Raises:
        InputError: not one of ``dev`` and ``figure`` is given, a setting is wrong, sets share speech, there
            is no such figure, or as `sdpn.experiments.search.search`.
    """
    if (dev is None) == (figure is None):
        raise InputError("give either --dev DIR or --figure NAME, to judge runs by")
    smallest = dev is not None or smallest
    proposals = propose(strategy, space, runs=runs, seed=seed, smallest=smallest)
    for key, values in space.items():  # a wrong setting is said before hours of work
        for value in _ends(values) if isinstance(values, Range) else values:
            configuration({key: value})
    for held_out, name in ((dev, "--dev"), (test, "--test")):
        if held_out is not None:
            refuse_shared_speech(speech, held_out.utterances, ("the training", name))
    if dev is not None and test is not None:
        refuse_shared_speech(dev.utterances, test.utterances, ("--dev", "--test"))

    def measure(results: dict[str, Any]) -> float:
        if dev is not None:
            return dev.eer(_scores(dev, Path(results["model"]), on_progress))
        value = results.get(str(figure))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            numbers = [name for name, one in results.items() if isinstance(one, (int, float))]
            raise InputError(
                f"the training has no figure {figure!r}", hint=f"it has {', '.join(sorted(numbers))}"
            )
        return float(value)

    identity = [made_from, strategy, seed, space, figure, smallest, None if dev is None else dev.digest()]
    found = search(
        proposals,
        configuration,
        train,
        measure,
        out,
        made_from=hashlib.sha256(repr(identity).encode()).hexdigest()[:16],
        smallest=smallest,
        force=force,
        on_trial=on_trial,
    )
    tested = None
    if test is not None and found.best.settings:
        given, best = (
            _scores(test, out / one.folder / "model", on_progress) for one in (found.trials[0], found.best)
        )
        tested = test.comparison(given)(best)
    name = "EER on --dev" if figure is None else figure
    with atomic_path(out / "search.png") as temporary:
        draw_search(found.trials, found.best, name, temporary)
    atomic_write_text(out / "settings.yaml", choice_as_yaml(found.best.settings, base))
    return Chosen(searched=found, figure=name, smallest=smallest, tested=tested)


def _ends(values: Range) -> list[float | int]:
    return [int(end) if values.whole else end for end in (values.low, values.high)]


def _scores(held_out: HeldOutTrials, model: Path, on_progress: Report) -> np.ndarray:
    rows = held_out.embed(
        load_model(model), lambda done, of: on_progress(f"measuring {model.parent.name}", done, of)
    )
    return held_out.cosines(rows)
