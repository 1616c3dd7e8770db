"""``sdpn prune``: copies of a model with small weights left out, and what that costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.progress import Meter
from sdpn.cli.table import format_table
from sdpn.io.atomic import OutputKind
from sdpn.pretrained import model_path

if TYPE_CHECKING:
    from sdpn.experiments.prune import Pruning

DESCRIPTION = """\
Set the smallest weights of a model to zero (magnitude pruning, one threshold for all linear layers and
convolutions), store the others in 32, 16 or 8 bits, and measure what each copy costs in EER on the trials of
--data, with a paired interval to the model as it was.

What becomes smaller is the file: zeros take one bit each. Nothing becomes faster, since the network that
computes multiplies zeros as any other number; the column ms says so. Nothing is trained again: to win back
accuracy, train the smaller network that you want instead (docs/distillation.md). Storing all weights in
8 bits is the rival: it is in the table, as 0 %.

The copies are model folders for any command, with weights restored to 32 bits on loading. Scoring thresholds
and back ends of the model are not copied: they are of other embeddings.

Writes to --out:
  share-S-Bbit     the copies
  pruning.png      EER against size
"""

EXAMPLE = """\
  sdpn prune --model exp/mini/model --data data/dev --out exp/pruned
  sdpn prune --model small --share 0.5,0.8 --bits 8 --data data/dev --out exp/pruned --json pruned.json
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn prune``."""
    parser.add_argument("--model", type=model_path, required=True, metavar="M", help="a model folder of sdpn")
    parser.add_argument(
        "--share",
        type=_numbers,
        default=(0.3, 0.5, 0.7, 0.8, 0.9),
        metavar="S,S",
        help="shares of the weights to set to zero (default: 0.3,0.5,0.7,0.8,0.9)",
    )
    parser.add_argument(
        "--bits", type=_bits, default=(32, 8), metavar="B,B", help="of 32, 16 and 8 (default: 32,8)"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="Kaldi data directory with utt2spk and trials"
    )
    parser.add_argument("--trials", type=Path, metavar="FILE", help="trial list (default: trials in --data)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the files go")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed (default: 0)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write and measure the copies, print the table, draw the picture.

    Raises:
        InputError: as `sdpn.experiments.prune.prune_model`, or model or trials cannot be read.
    """
    from sdpn.experiments.held_out import read_held_out
    from sdpn.experiments.prune import prune_model

    held_out = read_held_out(args.data, args.trials)
    meter = Meter(quiet=args.quiet)
    try:
        found = prune_model(
            args.model,
            held_out,
            args.out,
            args.share,
            args.bits,
            seed=args.seed,
            on_progress=meter.show,
        )
    finally:
        meter.finish()
    _print(found)
    return found.to_dict()


def _print(found: Pruning) -> None:
    table = []
    for row in found.rows:
        compared = row.compared
        difference = compared.difference_interval
        table.append(
            [
                f"{100 * row.share:g} %, {row.bits} bits",
                f"{100 * row.zeros:.1f}",
                f"{row.num_bytes / 1e6:.2f}",
                f"{100 * row.num_bytes / found.num_bytes:.0f}",
                f"{100 * compared.eer:.2f}",
                f"{100 * compared.difference:+.2f}",
                f"[{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]",
                f"{row.ms:.0f}",
            ]
        )
    header = ["left out", "zeros %", "MB", "of the file %", "EER %", "difference", "95 %, paired", "ms"]
    print(format_table(header, table))
    print("ms: to embed 4 s; zeros are multiplied as any other number, so only the file is smaller")
    for row in found.rows:
        if row.empty_layers:
            first = row.empty_layers[0]
            print(f"{100 * row.share:g} %: {len(row.empty_layers)} layers lost all weights: {first}, …")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas, found {text!r}") from None


def _bits(text: str) -> tuple[int, ...]:
    found = {"32": 32, "16": 16, "8": 8}
    try:
        return tuple(found[one] for one in text.split(","))
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected some of 32, 16 and 8, found {text!r}") from None
