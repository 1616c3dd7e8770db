"""``--segmentation``, ``--no-segmentation`` and ``--exclusive``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdpn.models.graph_segmenter import GraphSegmenter
    from sdpn.models.segmenter import Segmenter


def add_segmentation_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("overlap")
    add_network_arguments(group)
    group.add_argument(
        "--exclusive", action="store_true", help="with --segmentation: write one speaker at a time"
    )


def add_network_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare ``--segmentation`` and ``--no-segmentation``."""
    chosen = group.add_mutually_exclusive_group()
    chosen.add_argument(
        "--segmentation",
        metavar="FILE|NAME",
        help="local segmentation network, for turns that overlap where two speak: a file, a name of "
        "'sdpn models --available' (segmentation-3.0), or pyannote/segmentation-3.0 from the cache of "
        "Hugging Face",
    )
    chosen.add_argument(
        "--no-segmentation",
        dest="segmentation",
        action="store_const",
        const=None,
        help="one speaker at a time, found without such a network (default)",
    )


def load_segmentation_argument(args: argparse.Namespace) -> Segmenter | GraphSegmenter | None:
    """The network of ``--segmentation``, for what ``--runtime`` says; None without it.

    Raises:
        InputError: as `sdpn.load_segmentation`.
    """
    if args.segmentation is None:
        return None
    from sdpn.interop.segmentation import load_segmentation

    return load_segmentation(args.segmentation, runtime=args.runtime)
