"""``--model`` and ``--format``, the same wherever a command takes a model."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sdpn.errors import InputError

if TYPE_CHECKING:
    from sdpn.models.embedder import Embedder

#: The names in `sdpn.interop.registry.FORMATS`, which is not imported for ``--help``: it needs torch.
FORMATS = ("sdpn", "3dspeaker", "wespeaker", "speechbrain", "redimnet", "onnx")


def add_model_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare ``--model`` and ``--format``."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="M",
        help="model: EXP/model, a file or folder of 3D-Speaker, WeSpeaker, SpeechBrain or ReDimNet2, or an "
        "ONNX graph (default: the model included in sdpn)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        metavar="F",
        help=f"format of the model: {', '.join(FORMATS)} (default: detected from its files)",
    )


def add_device_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--device``, for `find_device`."""
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if available)")


def find_device(named: str | None) -> str:
    """The given device, or the GPU of this process, or the CPU.

    Raises:
        InputError: there is no such device.
    """
    import torch

    if named is None:
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    kind, colon, number = named.partition(":")
    if kind == "cpu" and not colon:
        return named
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise InputError(f"--device {named!r} is not a device", hint="expected cpu, cuda or cuda:N")
    if not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {named!r} is not available: torch finds {torch.cuda.device_count()} GPUs")
    return named


def named_model(args: argparse.Namespace) -> Path:
    """The given model, or the folder of the one included in sdpn."""
    from sdpn.pretrained import SHIPPED

    return SHIPPED if args.model is None else args.model


def load(args: argparse.Namespace, *, device: str = "cpu") -> Embedder:
    """Load the given model.

    Args:
        args: with what `add_model_arguments` declares.
        device: where it computes.

    Raises:
        InputError: as `sdpn.load_model`.
    """
    from sdpn.interop.load import load_model

    return load_model(args.model, args.format, device=device)
