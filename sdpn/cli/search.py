"""``sdpn search``: settings of a training, chosen on held-out trials or on its own figures."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter
from sdpn.cli.table import format_table
from sdpn.cli.training_command import as_words, training_command
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdpn.experiments.held_out import HeldOutTrials, ScoreComparison
    from sdpn.experiments.search import Searched

DESCRIPTION = """\
Search the settings of a training: run it as it is given and then with every combination of --try, with random
ones, or with those that optuna expects to be good (--strategy), and keep what is best.

The training is any command that trains, written after --, without --out. It is judged by the EER on the
trials of --dev, speakers that it is not trained on; or, with --figure, by a number of its own results, such
as best_accuracy of a run with supervised.folds.

The best figure on --dev is too good, since it was chosen: of twenty equal settings the luckiest would win. So
give --test as well, other speakers, on which the training as given and the choice are compared once, at the
end, with a paired interval. Do not choose on it.

Values: KEY=V1,V2,… ; KEY=LOW..HIGH, a range, for random and optuna; KEY=LOW..HIGH,log, one in which orders of
magnitude are equally likely.

Writes to --out:
  trials.jsonl     every run, with its settings, figure and time; rerunning the command goes on from it, and
                   resumes the run that was stopped
  runs/NNN         the experiment folder of each run; 000 is the training as given
  settings.yaml    the choice, for --config of the training
  search.png       the figure of every run against each setting
"""

USAGE = "sdpn search --try KEY=VALUES --out DIR (--dev DIR | --figure NAME) [options] -- TRAINING …"

EXAMPLE = """\
  sdpn search --try optimizer.lr=0.01,0.03 --try supervised.margin=0.1,0.2 --dev data/dev --out exp/grid \\
    -- train --objective supervised --data data/train --init exp/mini/model training.steps=500
  sdpn search --strategy random --runs 20 --try optimizer.lr=0.001..0.1,log --dev data/dev --test data/test \\
    --out exp/random -- train --config conf/mini.yaml --data data/train
  sdpn search --strategy optuna --runs 20 --try optimizer.lr=0.001..0.1,log --figure best_accuracy \\
    --out exp/optuna -- train --objective supervised --data data/train supervised.folds=5
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}

AFTER_DASHES = "training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn search``."""
    parser.add_argument(
        "--try",
        dest="grid",
        action="append",
        default=[],
        required=True,
        metavar="KEY=V,V",
        help="values of a setting of the training, or a range; repeatable",
    )
    parser.add_argument(
        "--strategy",
        choices=("grid", "random", "optuna"),
        default="grid",
        help="every combination (default), random draws, or optuna (pip install 'sdpn[search]')",
    )
    parser.add_argument(
        "--runs", type=at_least(2), metavar="N", help="runs at most, that of the training as given included"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="random seed (default: 0)")
    judge = parser.add_argument_group("what it is judged by")
    judge.add_argument(
        "--dev", type=Path, metavar="DIR", help="Kaldi data directory with utt2spk and trials: EER, by cosine"
    )
    judge.add_argument(
        "--figure",
        metavar="NAME",
        help="a number in the results of the training, of which the largest is best",
    )
    judge.add_argument("--smallest", action="store_true", help="with --figure: of which the smallest is best")
    judge.add_argument(
        "--test", type=Path, metavar="DIR", help="as --dev, of other speakers: compared once, at the end"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the files go")
    parser.add_argument("--force", action="store_true", help="start again")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Search, print the table, compare on the test, write the choice.

    Raises:
        InputError: an option is wrong, or as `sdpn.experiments.search.search`.
    """
    training = training_command(args.training)
    if (args.dev is None) == (args.figure is None):
        raise InputError("give either --dev DIR or --figure NAME, to judge runs by")
    if args.smallest and args.figure is None:
        raise InputError("--smallest is for --figure; of an EER the smallest is best anyway")

    from sdpn.experiments.held_out import read_held_out, refuse_shared_speech
    from sdpn.experiments.search import choice_as_yaml, search
    from sdpn.experiments.search_picture import draw_search
    from sdpn.io.atomic import atomic_path, atomic_write_text
    from sdpn.tuning.proposals import propose
    from sdpn.tuning.values import parse_values

    space = {}
    for word in args.grid:
        key, values = parse_values(word)
        if key in space:
            raise InputError(f"--try {key} is given twice", hint="give all of its values in one")
        space[key] = values
    smallest = args.dev is not None or args.smallest
    proposals = propose(args.strategy, space, runs=args.runs, seed=args.seed, smallest=smallest)
    given = training.check()
    for key, values in space.items():  # a wrong setting is said before hours of work
        ends = (
            values if isinstance(values, list) else [_whole(end, values) for end in (values.low, values.high)]
        )
        for value in ends:
            training.check(settings=as_words({key: value}))
    dev = None if args.dev is None else read_held_out(args.dev)
    test = None if args.test is None else read_held_out(args.test)
    speech = training.training_speech()
    for held_out, option in ((dev, "--dev"), (test, "--test")):
        if held_out is not None:
            refuse_shared_speech(speech, held_out.utterances, ("the training", option))
    if dev is not None and test is not None:
        refuse_shared_speech(dev.utterances, test.utterances, ("--dev", "--test"))
    meter = Meter(quiet=args.quiet)

    def train(settings: Mapping[str, object], out: Path) -> dict[str, Any]:
        return training.run(out, settings=as_words(settings), quiet=True)

    def measure(results: dict[str, Any]) -> float:
        if dev is not None:
            return dev.eer(_scores(dev, Path(results["model"]), meter))
        value = results.get(args.figure)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            numbers = [name for name, one in results.items() if isinstance(one, (int, float))]
            raise InputError(
                f"the training has no figure {args.figure!r}", hint=f"it has {', '.join(sorted(numbers))}"
            )
        return float(value)

    def shown(number: int, one: Any) -> None:
        figure = one.error or f"{one.figure:.4f}"
        meter.show("runs", number, args.runs, f"{' '.join(as_words(one.settings)) or 'as given'}: {figure}")

    try:
        found = search(
            proposals,
            training.configuration,
            train,
            measure,
            args.out,
            made_from=training.digest(
                args.strategy, args.seed, space, args.figure, smallest, None if dev is None else dev.digest()
            ),
            smallest=smallest,
            force=args.force,
            on_trial=shown,
        )
        tested = None
        if test is not None and found.best.settings:
            scores = [
                _scores(test, args.out / one.folder / "model", meter) for one in (found.best, found.trials[0])
            ]
            tested = test.comparison(scores[1])(scores[0])
    finally:
        meter.finish()
    name = "EER on --dev" if dev is not None else args.figure
    with atomic_path(args.out / "search.png") as temporary:
        draw_search(found.trials, found.best, name, temporary)
    atomic_write_text(
        args.out / "settings.yaml", choice_as_yaml(found.best.settings, getattr(given, "config", None))
    )
    _print(found, dev is not None, name, tested, args.out)
    return _results(found, name, smallest, tested)


def _whole(value: float, values: Any) -> float | int:
    return int(value) if values.whole else value


def _scores(held_out: HeldOutTrials, model: Path, meter: Meter) -> Any:
    from sdpn.interop.load import load_model

    return held_out.cosines(
        held_out.embed(load_model(model), partial(meter.show, f"measuring {model.parent.name}"))
    )


def _results(found: Searched, name: str, smallest: bool, tested: ScoreComparison | None) -> dict[str, Any]:
    from dataclasses import asdict

    results: dict[str, Any] = {
        "figure": name,
        "smallest_is_best": smallest,
        "trials": [asdict(one) for one in found.trials],
        "best": found.best.settings,
        "best_figure": found.best.figure,
        "given_figure": found.trials[0].figure,
    }
    if tested is not None:
        difference = tested.difference_interval
        results["test"] = {
            "eer": tested.eer,
            "difference": tested.difference,
            "difference_low": difference.low,
            "difference_high": difference.high,
        }
    return results


def _print(found: Searched, is_rate: bool, name: str, tested: ScoreComparison | None, out: Path) -> None:
    def cell(figure: float | None) -> str:
        return "failed" if figure is None else f"{100 * figure:.2f} %" if is_rate else f"{figure:.4f}"

    order = sorted(found.trials, key=lambda one: one is not found.best)
    rows = [
        [" ".join(as_words(one.settings)) or "as given", cell(one.figure), f"{one.seconds:.0f}", one.folder]
        for one in order
    ]
    print(format_table(["settings", name, "seconds", "folder"], rows))
    given = cell(found.trials[0].figure)
    print(f"best of {len(rows)}: {rows[0][0]}, {cell(found.best.figure)}; as given {given}")
    if not found.best.settings:
        print("nothing that was tried is better than the training as given")
    elif tested is not None:
        low, high = tested.difference_interval.low, tested.difference_interval.high
        sure = "better" if high < 0 else "worse" if low > 0 else "not surely different"
        print(
            f"on --test: EER {100 * tested.eer:.2f} %, {100 * tested.difference:+.2f} points from that "
            f"as given [{100 * low:+.2f}, {100 * high:+.2f}]: {sure}"
        )
    else:
        print("this figure was chosen and is too good; --test DIR measures the choice on other speakers")
    print(f"written: {out / 'settings.yaml'}")
