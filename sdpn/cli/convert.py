"""``sdpn convert``: any supported model to a model folder, or to an ONNX graph."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import add_model_arguments, named_model
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.models.folder import ModelFolder
    from sdpn.models.pretraining import Pretraining

DESCRIPTION = """\
Convert a model of another toolkit to a model folder: config.yaml, which describes the encoder and its
features, and model.safetensors. The folder gives the same embeddings and needs no --format. No code in the
model's files is executed.

--half stores weights in 16 bits, which halves the size; they are converted back to 32 bits on loading. An
sdpn model keeps its head and prototypes, which further training starts from, and its back end.

--to onnx writes a graph that onnxruntime runs without torch. Its input is 'features' (B, F, T), or with
--features inside 'waveform' (B, S) at 16 kHz in [-1, 1]. Batch size and length are arbitrary, but all
utterances of a batch have the same length. --int8 reduces the size to a quarter; docs/extraction.md gives the
loss in accuracy.
"""

EXAMPLE = """\
  sdpn convert --model campplus.bin --format 3dspeaker --out models/campplus
  sdpn convert --model voxceleb_resnet34_LM/ --out models/resnet34
  sdpn convert --model exp/mini/model --to onnx --features inside --out mini.onnx
"""

OUTPUTS: dict[str, OutputKind] = {"out": "new"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn convert``."""
    add_model_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="folder or graph to write")
    parser.add_argument(
        "--to", choices=("folder", "onnx"), default="folder", help="output format (default: folder)"
    )
    parser.add_argument(
        "--features",
        choices=("inside", "outside"),
        default=None,
        help="ONNX only: whether the graph computes its features itself (default: outside)",
    )
    parser.add_argument("--int8", action="store_true", help="ONNX only: store weights in 8 bits")
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


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read and write.

    Raises:
        InputError: the model cannot be read, options exclude each other, or PATH exists already.
    """
    from sdpn.errors import InputError

    if args.to == "folder" and (args.int8 or args.features):
        raise InputError("--int8 and --features apply to ONNX graphs only", hint="add --to onnx")
    if args.to == "onnx" and (args.half or args.head):
        raise InputError("--half and --head apply to model folders only", hint="for a graph use --int8")
    if args.to == "onnx" and args.out.suffix != ".onnx":
        raise InputError("the file name of a graph must end in .onnx", path=args.out)

    from sdpn.interop.load import read_any
    from sdpn.models.folder import save_model

    model = read_any(args.model, args.format)
    parameters = sum(parameter.numel() for parameter in model.encoder.parameters())
    if args.to == "folder":
        save_model(args.out, model, pretraining=_pretraining(args), half=args.half, beside=_back_end(args))
        features = f"features {model.features.kind}"
    else:
        _write_graph(args, model)
        features = (
            f"input waveform, features {model.features.kind} inside"
            if args.features == "inside"
            else f"input features {model.features.kind}"
        )
    bits = ", 8-bit weights" if args.int8 else ", 16-bit weights" if args.half else ""
    print(
        f"{args.out}: {model.encoder_config.kind}, {parameters / 1e6:.2f} M parameters{bits}, embeddings of "
        f"{model.encoder.embedding_dim} dimensions, {features}"
    )
    return {
        "model": str(args.out.resolve()),
        "kind": model.encoder_config.kind,
        "features": model.features.kind,
        "embedding_dim": model.encoder.embedding_dim,
        "parameters": parameters,
        "source": dict(model.source),
    }


def _pretraining(args: argparse.Namespace) -> Pretraining | None:
    """What an sdpn model folder holds besides its encoder."""
    from sdpn.models.pretraining import PRETRAINING, read_pretraining

    if args.head is not None:
        return read_pretraining(args.head)
    folder = named_model(args)
    return read_pretraining(folder) if (folder / PRETRAINING).is_file() else None


def _back_end(args: argparse.Namespace) -> list[Path]:
    """The file of the model's back end, which applies to the same embeddings."""
    from sdpn.verification.storage import BACK_END, has_back_end

    folder = named_model(args)
    return [folder / BACK_END] if has_back_end(folder) else []


def _write_graph(args: argparse.Namespace, model: ModelFolder) -> None:
    """Write the graph; an 8-bit one is quantised from the full-precision graph."""
    import tempfile

    from sdpn.interop.onnx_export import export_onnx, quantise_onnx

    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "model.onnx" if args.int8 else args.out
        export_onnx(whole, model, input="waveform" if args.features == "inside" else "features")
        if args.int8:
            quantise_onnx(whole, args.out)
