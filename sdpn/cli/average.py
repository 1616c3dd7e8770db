"""``sdpn average``: the mean of the last checkpoints of a run."""

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
"""

EXAMPLE = """\
  sdpn train --data data/train --out exp/mini training.keep_checkpoints=10 training.checkpoint_every=200
  sdpn average exp/mini --checkpoints 10 --out exp/mini/average
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn average``."""
    parser.add_argument("experiment", type=Path, metavar="EXP", help="folder of a training run")
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
        InputError: as `sdpn.training.average.average_checkpoints`.
    """
    from sdpn.training.average import average_checkpoints

    averaged = average_checkpoints(args.experiment, args.checkpoints)
    averaged.save(args.out)
    first, last = averaged.steps[0], averaged.steps[-1]
    print(f"mean of {len(averaged.steps)} checkpoints, steps {first} to {last}: {args.out}")
    return {"model": str(args.out), "steps": averaged.steps}
