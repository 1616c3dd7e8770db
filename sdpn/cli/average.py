"""``sdpn average``: the mean of the last checkpoints of a run, or of several models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdpn.cli.numbers import at_least
from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Average the weights of the last checkpoints of a training run, and write a model folder. The mean often
generalises better than any of them. The run must have kept its checkpoints: training.keep_checkpoints=10.

The teacher is averaged, with its head and the prototypes. The clustering threshold that 'sdpn train' measures
is not in the folder; 'sdpn backend' trains a back end for it.

Several model folders are averaged with each other: those of one network that began with the same weights,
such as a model and what it became by more training. Head and prototypes are then those of the first.
"""

EXAMPLE = """\
  sdpn train --data data/train --out exp/mini training.keep_checkpoints=10 training.checkpoint_every=200
  sdpn average exp/mini --checkpoints 10 --out exp/mini/average
  sdpn average exp/first/model exp/more/model --out exp/mean
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn average``."""
    parser.add_argument(
        "averaged",
        type=Path,
        nargs="+",
        metavar="EXP|MODEL",
        help="folder of a training run, or several model folders",
    )
    parser.add_argument(
        "--checkpoints",
        type=at_least(1),
        default=10,
        metavar="N",
        help="number of the last checkpoints (default: 10)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="model folder to write")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Average, write.

    Raises:
        InputError: as `sdpn.training.average.average_checkpoints` and `average_folders`.
    """
    from sdpn.training.average import average_checkpoints, average_folders

    if len(args.averaged) > 1:
        average_folders(args.averaged, args.out)
        print(f"mean of {len(args.averaged)} models: {args.out}")
        return {"model": str(args.out), "models": [str(path) for path in args.averaged]}
    averaged = average_checkpoints(args.averaged[0], args.checkpoints)
    averaged.save(args.out)
    first, last = averaged.steps[0], averaged.steps[-1]
    print(f"mean of {len(averaged.steps)} checkpoints, steps {first} to {last}: {args.out}")
    return {"model": str(args.out), "steps": averaged.steps}
