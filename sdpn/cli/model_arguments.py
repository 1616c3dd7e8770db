"""``--model`` and ``--format``, the same wherever a command takes a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sdpn.pretrained import INCLUDED, SHIPPED, model_path

if TYPE_CHECKING:
    from sdpn.models.embedder import Embedder

#: The names in `sdpn.interop.registry.FORMATS`, which is not imported for ``--help``: it needs torch.
FORMATS = ("sdpn", "3dspeaker", "wespeaker", "speechbrain", "redimnet", "onnx")


def add_model_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare ``--model`` and ``--format``."""
    parser.add_argument(
        "--model",
        type=model_path,
        metavar="M",
        help=f"model: EXP/model, a name of 'sdpn models --available' (included: {', '.join(INCLUDED)}), a "
        "file or folder of 3D-Speaker, WeSpeaker, SpeechBrain or ReDimNet2, or an ONNX graph "
        f"(default: {SHIPPED.name})",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        metavar="F",
        help=f"format of the model: {', '.join(FORMATS)} (default: detected from its files)",
    )


def add_device_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--device``, for `load`."""
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if available)")


def load(args: argparse.Namespace) -> Embedder:
    """Load the given model, on the given device where the command has ``--device`` and else on the CPU.

    Args:
        args: with what `add_model_arguments` declares.

    Raises:
        InputError: as `sdpn.load_model`, or there is no such device.
    """
    from sdpn.interop.load import load_model
    from sdpn.models.device import find_device

    device = find_device(args.device) if hasattr(args, "device") else "cpu"
    return load_model(args.model, args.format, device=device)
