"""``sdpn search``: settings of a training, chosen on held-out trials or on its own figures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter
from sdpn.cli.table import format_table
from sdpn.cli.training_command import training_command
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdpn.experiments.choose import Chosen
    from sdpn.experiments.search import SearchTrial

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
    if args.smallest and args.figure is None:
        raise InputError("--smallest is for --figure; of an EER the smallest is best anyway")

    from sdpn.config import as_overrides
    from sdpn.experiments.choose import choose_settings
    from sdpn.experiments.held_out import read_held_out
    from sdpn.tuning.values import parse_values

    space = {}
    for word in args.grid:
        key, values = parse_values(word)
        if key in space:
            raise InputError(f"--try {key} is given twice", hint="give all of its values in one")
        space[key] = values
    given = training.check()
    meter = Meter(quiet=args.quiet)

    def train(settings: Mapping[str, object], out: Path) -> dict[str, Any]:
        return training.run(out, settings=as_overrides(settings), quiet=True)

    def shown(number: int, one: SearchTrial) -> None:
        figure = one.error or f"{one.figure:.4f}"
        meter.show("runs", number, args.runs, f"{_shown(one.settings)}: {figure}")

    try:
        found = choose_settings(
            training.configuration,
            train,
            space,
            args.out,
            dev=None if args.dev is None else read_held_out(args.dev),
            figure=args.figure,
            smallest=args.smallest,
            test=None if args.test is None else read_held_out(args.test),
            speech=training.training_speech(),
            strategy=args.strategy,
            runs=args.runs,
            seed=args.seed,
            base=getattr(given, "config", None),
            made_from=training.digest(),
            force=args.force,
            on_trial=shown,
            on_progress=meter.show,
        )
    finally:
        meter.finish()
    _print(found, args.dev is not None, args.out)
    return found.to_dict()


def _shown(settings: Mapping[str, object]) -> str:
    from sdpn.config import as_overrides

    return " ".join(as_overrides(settings)) or "as given"


def _print(chosen: Chosen, is_rate: bool, out: Path) -> None:
    found, tested = chosen.searched, chosen.tested

    def cell(figure: float | None) -> str:
        return "failed" if figure is None else f"{100 * figure:.2f} %" if is_rate else f"{figure:.4f}"

    order = sorted(found.trials, key=lambda one: one is not found.best)
    rows = [[_shown(one.settings), cell(one.figure), f"{one.seconds:.0f}", one.folder] for one in order]
    print(format_table(["settings", chosen.figure, "seconds", "folder"], rows))
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
