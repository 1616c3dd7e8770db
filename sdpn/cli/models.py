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
    import difflib

    from sdpn.cli.table import format_table
    from sdpn.errors import InputError
    from sdpn.models.cost import cost_of
    from sdpn.models.registry import SIZES

    if args.num_mels < 1:
        raise InputError("--num-mels must be at least 1")
    for name in args.names:
        if name not in SIZES:
            near = difflib.get_close_matches(name, SIZES, n=1, cutoff=0.0)[0]
            raise InputError(
                f"unknown encoder {name!r}", hint=f"did you mean {near!r}? 'sdpn models' lists all"
            )
    models: list[dict[str, Any]] = []
    for name in args.names or SIZES:
        cost = cost_of(SIZES[name], args.num_mels)
        models.append(
            {
                "name": name,
                "kind": SIZES[name].kind,
                "embedding_dim": SIZES[name].embedding_dim,
                "parameters": cost.parameters,
                "macs_per_s": cost.macs_per_s,
            }
        )
    rows = [
        [
            str(model["name"]),
            str(model["embedding_dim"]),
            f"{model['parameters'] / 1e6:.2f} M",
            f"{model['macs_per_s'] / 1e6:.0f} M",
        ]
        for model in models
    ]
    print(format_table(["encoder", "embedding", "parameters", "MACs per s"], rows))
    return {"num_mels": args.num_mels, "models": models}
