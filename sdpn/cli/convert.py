"""``sdpn convert``: any supported model to a model folder, to an ONNX graph, or to a folder of graphs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import add_model_arguments
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.interop.convert import Converted

DESCRIPTION = """\
Convert a model of another toolkit to a model folder: config.yaml, which describes the encoder and its
features, and model.safetensors. The folder gives the same embeddings and needs no --format. No code in the
model's files is executed.

--half stores weights in 16 bits, which halves the size; they are converted back to 32 bits on loading. An
sdpn model keeps its head and prototypes, which further training starts from, and its back end.

--adapters adds what 'sdpn finetune' has trained beside the layers of this very model: merged into them where
that is exact (linear adapters), else kept.

--to onnx writes a graph that onnxruntime runs without torch. Its input is 'features' (B, F, T), or with
--features inside 'waveform' (B, S) at 16 kHz in [-1, 1]. Batch size and length are arbitrary, but all
utterances of a batch have the same length. --int8 reduces the size to a quarter; docs/extraction.md gives the
loss in accuracy.

--to graphs writes a folder with everything that '--runtime onnx' of diarize, extract, compare and enroll
needs: features, encoder (in 32 and 8 bits), voice activity detection, the back end, and with --segmentation
a segmentation network, which is written alone where no --model is given (docs/onnx.md).
"""

EXAMPLE = """\
  sdpn convert --model campplus.bin --format 3dspeaker --out models/campplus
  sdpn convert --model voxceleb_resnet34_LM/ --out models/resnet34
  sdpn convert --model small --adapters exp/adapted/adapters --out models/adapted
  sdpn convert --model exp/mini/model --to onnx --features inside --out mini.onnx
  sdpn convert --model fast --to graphs --segmentation segmentation-small --out graphs/
"""

OUTPUTS: dict[str, OutputKind] = {"out": "new"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn convert``."""
    add_model_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="folder or graph to write")
    parser.add_argument(
        "--to", choices=("folder", "onnx", "graphs"), default="folder", help="output format (default: folder)"
    )
    parser.add_argument(
        "--features",
        choices=("inside", "outside"),
        default=None,
        help="ONNX only: whether the graph computes its features itself (default: outside)",
    )
    parser.add_argument("--int8", action="store_true", help="ONNX only: store weights in 8 bits")
    parser.add_argument(
        "--adapters",
        type=Path,
        metavar="DIR",
        help="add these adapters of 'sdpn finetune' (EXP/adapters) to the model that they were trained on",
    )
    parser.add_argument(
        "--head",
        type=Path,
        metavar="MODEL",
        help="folder only: store this model's head and prototypes, for example those of the preceding SDPN "
        "run with a model trained on pseudo-labels, which has none (default: the model's own)",
    )
    parser.add_argument(
        "--half", action="store_true", help="folder only: store weights in 16 bits, which halves the size"
    )
    parser.add_argument(
        "--segmentation",
        metavar="FILE|NAME",
        help="graphs only: a segmentation network to add; without --model it is written alone",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read and write.

    Raises:
        InputError: the model cannot be read, options exclude each other, or PATH exists already.
    """
    from sdpn.interop.convert import convert

    done = convert(
        args.model,
        args.out,
        format=args.format,
        to=args.to,
        features=args.features,
        int8=args.int8,
        head=args.head,
        half=args.half,
        segmentation=args.segmentation,
        adapters=args.adapters,
    )
    if done.kind is None:
        print(f"{args.out}: segmentation network, {done.parameters / 1e6:.2f} M parameters")
    else:
        _print(args, done)
    return {
        "model": str(done.path.resolve()),
        "kind": done.kind,
        "features": done.features,
        "embedding_dim": done.embedding_dim,
        "parameters": done.parameters,
        "source": done.source,
    }


def _print(args: argparse.Namespace, done: Converted) -> None:
    if args.to == "folder":
        inputs = f"features {done.features}"
    elif args.to == "graphs" or args.features == "inside":
        inputs = f"input waveform, features {done.features} inside"
    else:
        inputs = f"input features {done.features}"
    bits = ", 8-bit weights" if args.int8 else ", 16-bit weights" if args.half else ""
    print(
        f"{args.out}: {done.kind}, {done.parameters / 1e6:.2f} M parameters{bits}, embeddings of "
        f"{done.embedding_dim} dimensions, {inputs}"
    )
