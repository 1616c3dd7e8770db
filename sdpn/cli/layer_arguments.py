"""The options of a command that takes a layer of a network in place of rows; torch comes with the network."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sdpn.cli.audio_arguments import add_audio_arguments
from sdpn.cli.model_arguments import FORMATS, add_device_argument, load
from sdpn.io.inputs import find_utterances

if TYPE_CHECKING:
    from sdpn.extraction.layer_chunks import LayerChunks


def add_layer_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options beside ``--model``, which the command declares itself."""
    group = parser.add_argument_group("rows of a layer of a network, in place of chunks")
    group.add_argument(
        "--layer",
        metavar="L",
        help="name or number (from 0) of a layer of --model; an unknown one lists all layers",
    )
    group.add_argument(
        "--data", type=Path, metavar="DIR", help="a Kaldi data directory, or a folder of recordings"
    )
    group.add_argument(
        "--format",
        choices=FORMATS,
        metavar="F",
        help=f"format of the network: {', '.join(FORMATS)} (default: detected from its files)",
    )
    add_device_argument(group)
    group.add_argument(
        "--keep-rows", action="store_true", help="keep OUT/rows, which is otherwise removed at the end"
    )
    add_audio_arguments(parser, separate=False)


def layer_chunks(args: argparse.Namespace, folder: Path, *, dimension: int | None) -> LayerChunks:
    """Write the outputs of ``--layer`` of ``--model`` for ``--data`` to chunks in a folder.

    Args:
        args: the arguments of `add_layer_arguments`, and ``model``.
        folder: folder of the chunks.
        dimension: required dimension; None accepts any.

    Raises:
        InputError: the model, the layer or a recording cannot be used.
    """
    from sdpn.cli.progress import Meter
    from sdpn.extraction.layer_chunks import extract_layer
    from sdpn.threads import usable_threads

    utterances = find_utterances(args.data, [], channel=args.channel, skip_bad=args.skip_bad)
    model = load(args)
    meter = Meter(quiet=args.quiet)
    try:
        return extract_layer(
            model,
            int(args.layer) if args.layer.isdecimal() else args.layer,
            utterances,
            folder,
            dimension=dimension,
            readers=usable_threads(),
            skip_bad=args.skip_bad,
            on_progress=partial(meter.show, f"layer {args.layer}"),
        )
    finally:
        meter.finish()
