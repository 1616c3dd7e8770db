"""``sdpn cross-validate``: a training, repeated without each fold of its data and tested on it."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter
from sdpn.cli.table import format_table
from sdpn.cli.training_command import training_command
from sdpn.io.atomic import OutputKind
from sdpn.pretrained import model_path

if TYPE_CHECKING:
    from sdpn.experiments.cross_validation import CrossValidated, FoldResult
    from sdpn.experiments.folds import By

DESCRIPTION = """\
Cross-validate a training: divide --data into folds, repeat the training without each of them, and test every
model on the fold that it was not trained on. A small corpus serves for training and for test in this way, and
the deviation over folds says how much a single split would have been luck.

--by speaker leaves speakers out and tests verification: EER by cosine on trials among the speakers of the
fold (all pairs of a speaker, 100 at most, and ten times as many of two). With --before MODEL, the model that
the training starts from is measured on the same trials, and the difference has a paired interval over
speakers. --by utterance leaves utterances of every speaker out and tests identification: accuracy, macro
precision, recall and F1 of the classifier, which a training with labels writes.

The training is any command that trains, written after --, without --data and --out. Choose no setting by what
is reported here (sdpn search has folds of its own for that).

Writes to --out:
  folds/N/{train,test}   the data directories of each fold
  fold-N                 the experiment folder of each run; 'sdpn ensemble' takes their models as a bag
  folds.jsonl            what is finished; rerunning the command goes on from it
"""

USAGE = "sdpn cross-validate --data DIR --out DIR [options] -- TRAINING …"

EXAMPLE = """\
  sdpn cross-validate --data data/train --by speaker --folds 5 --before exp/mini/model --out exp/folds \\
    -- train --objective supervised --init exp/mini/model training.steps=500
  sdpn cross-validate --data data/train --by utterance --out exp/accuracy \\
    -- train --objective supervised supervised.head=linear
  sdpn ensemble --model exp/folds/fold-1/model --model exp/folds/fold-2/model --data data/dev --fit data/fit
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}

AFTER_DASHES = "training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn cross-validate``."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="Kaldi data directory with utt2spk"
    )
    parser.add_argument(
        "--by",
        choices=("speaker", "utterance"),
        help="what is left out (default: speaker)",
    )
    parser.add_argument(
        "--folds", type=at_least(2), default=5, metavar="K", help="number of folds (default: 5)"
    )
    parser.add_argument(
        "--before",
        type=model_path,
        metavar="MODEL",
        help="by speaker: a model to compare with, on the same trials",
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="S", help="random seed of the folds (default: 0)"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the files go")
    parser.add_argument("--force", action="store_true", help="start again")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the folds, train and test, print the table.

    Raises:
        InputError: an option is wrong, the folds cannot be made, or a training fails.
    """
    by: By = args.by or "speaker"
    training = training_command(args.training, taken=("--out", "--data", "--labels"))
    training.check(data=[args.data])

    from sdpn.experiments.cross_validation import cross_validate
    from sdpn.interop.load import load_model

    meter = Meter(quiet=args.quiet)

    def train(data: Path, out: Path) -> dict[str, Any]:
        return training.run(out, data=[data], quiet=args.quiet)

    def shown(one: FoldResult) -> None:
        name, value = next(iter(one.figures.items()))
        meter.show("folds", one.fold, args.folds, f"{_shown(name)} {100 * value:.2f} %")

    try:
        found = cross_validate(
            args.data,
            train,
            args.out,
            folds=args.folds,
            by=by,
            before=None if args.before is None else load_model(args.before),
            seed=args.seed,
            made_from=training.digest([args.data]),
            force=args.force,
            on_fold=shown,
            on_progress=partial(meter.show, "embedding"),
        )
    finally:
        meter.finish()
    _print(found, by)
    return found.to_dict()


def _print(found: CrossValidated, by: str) -> None:
    names = list(found.mean)
    rows = [[str(one.fold), *(f"{100 * one.figures[name]:.2f}" for name in names)] for one in found.folds]
    rows.append(["mean", *(f"{100 * found.mean[name]:.2f}" for name in names)])
    rows.append(["deviation", *(f"{100 * found.deviation[name]:.2f}" for name in names)])
    print(format_table(["fold", *(f"{_shown(name)} %" for name in names)], rows))
    if found.interval is not None:
        what = "EER, mean of the folds" if by == "speaker" else "accuracy over all utterances"
        print(f"{what}: 95 % interval over speakers {_interval(found.interval)}")
    if found.difference is not None and found.difference_interval is not None:
        print(
            f"against the model before: {100 * found.difference:+.2f} points "
            f"{_interval(found.difference_interval)}, paired"
        )


def _shown(figure: str) -> str:
    """A figure's name for people."""
    return figure.replace("eer", "EER").replace("_", " ")


def _interval(interval: Any) -> str:
    return f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
