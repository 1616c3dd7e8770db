"""``sdpn extract``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdpn.cli.model_arguments import add_model_arguments, load

DESCRIPTION = """\
Write one embedding for every utterance of a Kaldi data directory, as OUT/embeddings.ark and .scp.

Audio of any rate and format that libsndfile reads is taken; with a segments file, each segment is an
utterance. The files appear only when all of them are written.
"""

EXAMPLE = """\
  sdpn extract --model exp/mini/model --data data/dev --out exp/mini/embeddings
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``sdpn extract``."""
    add_model_arguments(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="Kaldi data directory")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the ark and scp")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Extract embeddings."""
    from sdpn.io.kaldi import read_data_dir

    utterances = read_data_dir(args.data)

    import time

    from sdpn.cli.progress import track
    from sdpn.io import kaldi
    from sdpn.io.audio import RATE_HZ

    model = load(args)
    started = time.perf_counter()
    speech_s = 0.0
    with kaldi.vector_writer(args.out) as write:
        for utterance in track(utterances, description="embedding", total=len(utterances), quiet=args.quiet):
            wave = utterance.read()
            speech_s += len(wave) / RATE_HZ
            write(utterance.id, model.embed(wave, RATE_HZ))
    seconds = time.perf_counter() - started
    print(
        f"{len(utterances)} embeddings of {model.embedding_dim} dimensions: {args.out / 'embeddings.scp'}  "
        f"({speech_s / 3600:.2f} h in {seconds:.0f} s, real-time factor {seconds / speech_s:.4f})"
    )
    return {
        "scp": str((args.out / "embeddings.scp").resolve()),
        "num_utterances": len(utterances),
        "embedding_dim": model.embedding_dim,
        "duration_s": speech_s,
        "seconds": seconds,
    }
