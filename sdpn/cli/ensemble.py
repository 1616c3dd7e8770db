"""``sdpn ensemble``: several models as one, compared with the best of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.progress import Meter
from sdpn.cli.table import format_table
from sdpn.io.atomic import OutputKind
from sdpn.pretrained import model_path

if TYPE_CHECKING:
    from sdpn.experiments.ensemble import Ensembles

DESCRIPTION = """\
Measure several models as one: the mean of their weights (models of one start and one architecture: a single
network at the cost of one), their embeddings concatenated or averaged after whitening, and their scores
averaged after calibration or fused by logistic regression. The models may be runs of different seeds,
settings or folds (bagging: sdpn cross-validate), or of different toolkits.

Every ensemble is compared with the best single model on the trials of --data, with a paired interval over
speakers. Whitening, calibration, fusion and the choice of the best single model are of --fit, other people;
sets that share an utterance are refused.

Writes to --out:
  weights          a model folder, where the models have a mean
  scores/NAME.txt  the scores of every row, 'utterance utterance score'
"""

EXAMPLE = """\
  sdpn ensemble --model exp/a/model --model exp/b/model --data data/dev --fit data/fit --out exp/both
  sdpn ensemble --model exp/folds/fold-1/model --model exp/folds/fold-2/model --data data/dev \\
    --fit data/fit --out exp/bag --json exp/bag.json
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn ensemble``."""
    parser.add_argument(
        "--model",
        type=model_path,
        dest="models",
        action="append",
        required=True,
        metavar="M",
        help="a model of any supported kind; repeat it for each",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="Kaldi data directory with utt2spk and trials"
    )
    parser.add_argument(
        "--fit",
        type=Path,
        required=True,
        metavar="DIR",
        help="the same of other people, to fit whitening and calibration to",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the files go")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed (default: 0)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed with every model, print the table, write the mean and the scores.

    Raises:
        InputError: as `sdpn.experiments.ensemble.compare_ensembles`, or a model cannot be read.
    """
    from sdpn.experiments.ensemble import compare_ensembles
    from sdpn.experiments.held_out import read_held_out

    meter = Meter(quiet=args.quiet)
    try:
        found = compare_ensembles(
            args.models,
            read_held_out(args.data),
            read_held_out(args.fit),
            seed=args.seed,
            on_progress=meter.show,
        )
    finally:
        meter.finish()
    found.save(args.out)
    _print(found, args.out)
    return found.to_dict()


def _print(found: Ensembles, out: Path) -> None:
    best = found.rows[found.best_single].name
    rows = []
    for at, row in enumerate(found.rows):
        compared = row.compared
        low, high = compared.difference_interval.low, compared.difference_interval.high
        rows.append(
            [
                row.name + (" (best single)" if at == found.best_single else ""),
                f"{100 * compared.eer:.2f}",
                f"[{100 * compared.interval.low:.2f}, {100 * compared.interval.high:.2f}]",
                "" if at == found.best_single else f"{100 * compared.difference:+.2f}",
                "" if at == found.best_single else f"[{100 * low:+.2f}, {100 * high:+.2f}]",
                f"{100 * row.fit_eer:.2f}",
            ]
        )
    print(format_table(["", "EER %", "95 %", "difference", "95 %, paired", "EER % of --fit"], rows))
    print(f"differences: to {best}, which is the best single model on --fit; intervals over speakers")
    for note in found.notes:
        print(note)
    if found.average is not None:
        print(f"written: {out / 'weights'}")
