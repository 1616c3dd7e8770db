"""``sdpn whiten``: what a back end knows of within-speaker variation, in the model's own embeddings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdpn.cli.model_arguments import add_device_argument
from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Write a model whose cosines separate speakers better. A back end ('sdpn backend') knows in which directions
the recordings of a speaker differ most. Here that becomes part of the last layer, for diarization, clustering
and all else that compares embeddings by their cosine (within-class covariance normalisation). The network
costs what it did.

The clustering threshold is measured anew on --data. Labels are not used. The new model has the old one's head
and prototypes, for further training, but no back end: train one for it.

The network must end in a linear layer: ecapa, conformer, xvector, redimnet2.
"""

EXAMPLE = """\
  sdpn backend --model exp/mini/model --data data/train --noise data/noise --rir data/rir
  sdpn whiten --model exp/mini/model --data data/train --out exp/mini/whitened
  sdpn backend --model exp/mini/whitened --data data/train --noise data/noise --rir data/rir
"""

OUTPUTS: dict[str, OutputKind] = {"out": "new"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn whiten``."""
    parser.add_argument(
        "--model", type=Path, required=True, metavar="MODEL", help="model folder, or an included model"
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="Kaldi data directory of clean speech of many speakers, such as the training speech; repeatable",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="model folder to write")
    parser.add_argument(
        "--back-end", type=Path, metavar="FILE", help="back end of this model (default: that in its folder)"
    )
    parser.add_argument("--half", action="store_true", help="store weights in 16 bits")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed (default: 0)")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Map, calibrate, write.

    Raises:
        InputError: as `sdpn.training.whitened.whiten_folder`.
    """
    from sdpn.io.kaldi import read_data_dir, refuse_shared_ids
    from sdpn.models.device import find_device
    from sdpn.pretrained import model_path
    from sdpn.training.whitened import whiten_folder

    parts = [read_data_dir(directory) for directory in args.data]
    refuse_shared_ids([one.id for part in parts for one in part], args.data, [len(part) for part in parts])
    calibration = whiten_folder(
        model_path(args.model),
        [one for part in parts for one in part],
        args.out,
        back_end=args.back_end,
        half=args.half,
        seed=args.seed,
        device=find_device(args.device),
    )
    print(f"{args.out}: whitened")
    for name, value in calibration.items():
        print(f"  {name} {value:.3f}")
    return {"model": str(args.out.resolve()), **calibration}
