"""``sdpn convert``: any known model to our layout."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdpn.cli.model_arguments import add_model_arguments

DESCRIPTION = """\
Write a model of another toolkit as a model folder: config.yaml, which says how to build the encoder and its
features, and model.safetensors. It gives the same embeddings and needs no --format. Nothing that the model's
files say is executed.
"""

EXAMPLE = """\
  sdpn convert --model campplus.bin --format 3dspeaker --out models/campplus
  sdpn convert --model voxceleb_resnet34_LM/ --out models/resnet34
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn convert``."""
    add_model_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="model folder to write")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read and write.

    Raises:
        InputError: the model cannot be read, or there is something at DIR already.
    """
    from sdpn.errors import InputError

    if args.out.exists():
        raise InputError("exists already", path=args.out, hint="name a new folder, or move it away")

    from sdpn.interop.load import read_any
    from sdpn.models.folder import save_model

    model = read_any(args.model, args.format)
    save_model(args.out, model)
    parameters = sum(parameter.numel() for parameter in model.encoder.parameters())
    print(
        f"{args.out}: {model.encoder_config.kind}, {parameters / 1e6:.2f} M parameters, embeddings of "
        f"{model.encoder.embedding_dim} dimensions, features {model.features.kind}"
    )
    return {
        "model": str(args.out.resolve()),
        "kind": model.encoder_config.kind,
        "features": model.features.kind,
        "embedding_dim": model.encoder.embedding_dim,
        "parameters": parameters,
        "source": dict(model.source),
    }
