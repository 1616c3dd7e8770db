"""``sdpn models``: the encoders and their cost."""

from __future__ import annotations

import argparse
from typing import Any

from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
List the encoders that 'sdpn train' supports (encoder.kind=NAME), which also load the models of other
toolkits, with their parameters and multiply-accumulates (MACs) per second of audio. MACs are those of
convolutions and matrix products in an utterance of ten seconds, without feature extraction.
"""

EXAMPLE = """\
  sdpn models
  sdpn models resnet34 campplus-tiny
"""

OUTPUTS: dict[str, OutputKind] = {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn models``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="encoders to list (default: all)")
    parser.add_argument(
        "--num-mels", type=int, default=80, metavar="F", help="number of mel bands (default: 80)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Count and print.

    Raises:
        InputError: a name is unknown, or there are no mel bands.
    """
    from dataclasses import asdict

    from sdpn.cli.table import format_table
    from sdpn.models.cost import list_encoders

    encoders = list_encoders(args.names, num_mels=args.num_mels)
    rows = [
        [
            encoder.name,
            str(encoder.embedding_dim),
            f"{encoder.parameters / 1e6:.2f} M",
            f"{encoder.macs_per_s / 1e6:.0f} M",
        ]
        for encoder in encoders
    ]
    print(format_table(["encoder", "embedding", "parameters", "MACs per s"], rows))
    return {"num_mels": args.num_mels, "models": list(map(asdict, encoders))}
