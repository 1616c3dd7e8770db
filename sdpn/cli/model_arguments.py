"""``--model`` and ``--format``, the same wherever a command takes a model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sdpn.errors import InputError
from sdpn.pretrained import INCLUDED, SHIPPED, model_path

if TYPE_CHECKING:
    from sdpn.models.embedder import Embedder
    from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder

#: The names in `sdpn.interop.registry.FORMATS`, which is not imported for ``--help``: it needs torch.
FORMATS = ("sdpn", "3dspeaker", "wespeaker", "speechbrain", "redimnet", "onnx")


class _Formats(argparse.Action):
    """``--format`` where turns are written, too: names of models' formats are not those of turns'."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        names = str(values).split(",")
        of_model = [name for name in names if name in FORMATS]
        if len({*of_model, *([namespace.format] if namespace.format and of_model else [])}) > 1:
            raise argparse.ArgumentError(self, "names several formats of --model; it has one")
        namespace.format = of_model[0] if of_model else namespace.format
        if of_turns := [name for name in names if name not in FORMATS]:
            setattr(namespace, self.dest, tuple(of_turns))


def add_model_arguments(parser: argparse._ActionsContainer, *, formats_of_turns: bool = False) -> None:
    """Declare ``--model`` and ``--format``.

    Args:
        parser: or a group.
        formats_of_turns: whether the command writes turns, in the formats that ``--format`` names as well;
            ``turn_formats`` holds them.
    """
    parser.add_argument(
        "--model",
        type=model_path,
        metavar="M",
        help=f"model: EXP/model, a name of 'sdpn models --available' (included: {', '.join(INCLUDED)}), a "
        "file or folder of 3D-Speaker, WeSpeaker, SpeechBrain or ReDimNet2, or an ONNX graph "
        f"(default: {SHIPPED.name})",
    )
    if formats_of_turns:
        parser.add_argument(
            "--format",
            dest="turn_formats",
            action=_Formats,
            default=("rttm",),
            metavar="F,F,...",
            help="formats to write: rttm, json, csv, srt, vtt, audacity, textgrid, elan (default: rttm); "
            f"also the format of --model: {', '.join(FORMATS)} (default: detected from its files)",
        )
        parser.set_defaults(format=None)
        return
    parser.add_argument(
        "--format",
        choices=FORMATS,
        metavar="F",
        help=f"format of the model: {', '.join(FORMATS)} (default: detected from its files)",
    )


def add_runtime_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--runtime``, for `load_for_runtime`."""
    parser.add_argument(
        "--runtime",
        choices=("torch", "onnx"),
        default="torch",
        help="what runs the networks: onnx starts sooner, imports no torch and gives the same results "
        "(docs/onnx.md); --model may then be a folder of 'sdpn convert --to graphs' (default: torch)",
    )


def add_precision_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--precision``, for `load_for_runtime`."""
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "int8"),
        default="auto",
        help="precision of the network; auto (default) is fp32, but 'sdpn extract' with torch times fp32 and "
        "bf16 at the start where the processor supports bf16, and the first process decides for all; int8 "
        "needs --runtime onnx",
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


def load_for_runtime(args: argparse.Namespace) -> SpeakerEmbedder:
    """As `load`, for what ``--runtime`` and ``--precision`` say.

    Args:
        args: with what `add_model_arguments`, `add_runtime_argument` and `add_precision_argument` declare.

    Raises:
        InputError: as `sdpn.load_model`, or an option needs the other runtime.
    """
    if args.runtime == "torch":
        if args.precision == "int8":
            raise InputError("--precision int8 needs --runtime onnx")
        model = load(args)
        if args.precision != "auto":
            model.precision = args.precision
        return model
    device = getattr(args, "device", None)
    if device not in (None, "cpu"):
        raise InputError(
            f"--device {device}: --runtime onnx computes on the CPU", hint="leave out one of the two"
        )
    if args.precision == "bf16":
        raise InputError("--precision bf16 needs --runtime torch", hint="onnx has fp32 and int8")

    from sdpn.interop.load import load_model

    precision: Precision = "fp32" if args.precision == "auto" else args.precision
    return load_model(args.model, args.format, precision=precision, runtime="onnx")
