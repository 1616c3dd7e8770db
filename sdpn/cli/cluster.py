"""``sdpn cluster``: embeddings of windows to RTTM."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.clusterer_arguments import add_clusterer_arguments, clusterer_settings
from sdpn.cli.numbers import at_least
from sdpn.cli.progress import track
from sdpn.cli.speaker_counts import add_count_arguments, check_count_arguments
from sdpn.cli.table import format_table
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections

DESCRIPTION = """\
Cluster window embeddings into speakers, and write one RTTM file for each recording.

The embeddings are a Kaldi ark or scp; --segments gives the time of each window as 'utterance recording start
end', in seconds. Overlapping windows are split halfway; speech is what the windows cover. Speakers are
labelled speaker00, speaker01, ... within each recording: the same label in two recordings does not mean the
same person.

--method vbx defaults to the settings of the published x-vector example and expects the matching --plda, and
the --transform into its space. Without a PLDA it estimates one from the recording itself.
"""

EXAMPLE = """\
  sdpn cluster --method nmesc --embeddings xvectors.scp --segments segments --out out/
  sdpn cluster --method vbx --embeddings xvectors.ark --segments segments \\
      --plda plda --transform transform.npz --out out/
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn cluster``."""
    parser.add_argument("--embeddings", required=True, type=Path, metavar="SCP|ARK", help="one per window")
    parser.add_argument("--segments", required=True, type=Path, metavar="FILE", help="time of each window")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="writes DIR/<recording>.rttm")
    space = parser.add_argument_group("space of the embeddings")
    space.add_argument(
        "--transform",
        type=Path,
        metavar="NPZ",
        help="transform applied first: subtract mean1, normalise length, lda, subtract mean2, normalise "
        "length",
    )
    space.add_argument(
        "--plda", type=Path, metavar="FILE", help="Kaldi PLDA, binary or text; for ahc, vbx and consensus"
    )
    add_count_arguments(parser).add_argument(
        "--min-windows",
        type=at_least(1),
        default=1,
        metavar="W",
        help="merge speakers with fewer than W windows into the most similar other speaker (default: keep "
        "them)",
    )
    add_clusterer_arguments(
        parser,
        default="ahc",
        why="since vbx works best with a PLDA of the embeddings; 'sdpn diarize' uses merging",
        threshold="that of the method, see below",
    )
    parser.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)  # as it was before


def settings() -> Sections:
    """The settings of each method."""
    from sdpn.clustering.registry import CLUSTERERS

    return CLUSTERERS


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Cluster every recording; one that fails is reported at the end and does not stop the others.

    Raises:
        InputError: before any work if an option or a file is wrong, or at the end if some recordings failed.
    """
    from sdpn.clustering.registry import make_clusterer
    from sdpn.config import parse_override
    from sdpn.diarization.from_embeddings import cluster_recordings, read_embedded_windows
    from sdpn.verification.plda import read_plda
    from sdpn.verification.transform import read_transform

    _check_options(args)
    plda = None if args.plda is None else read_plda(args.plda)
    given = map(parse_override, [*args.set, *args.settings])
    clusterer = make_clusterer(args.method, clusterer_settings(args, given), plda=plda)
    transform = None if args.transform is None else read_transform(args.transform)
    recordings = read_embedded_windows(args.embeddings, args.segments, transform=transform, plda=plda)

    done = cluster_recordings(
        recordings,
        args.out,
        clusterer,
        num_speakers=args.num_speakers,
        min_speakers=args.min_speakers or 1,
        max_speakers=args.max_speakers,
        min_windows=args.min_windows,
        progress=lambda them: track(them, description="clustering", total=len(them), quiet=args.quiet),
    )
    files = [{**asdict(file), "rttm": str(file.rttm)} for file in done.files]
    if files:
        _print(files)
    done.raise_failures(path=args.segments)
    return {"files": files}


def _check_options(args: argparse.Namespace) -> None:
    check_count_arguments(args)
    if args.min_windows > 1 and args.num_speakers is not None:
        raise InputError("--min-windows would change the number of speakers fixed by --num-speakers")


def _print(files: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        [
            file["recording"],
            str(file["num_windows"]),
            f"{file['speech_s']:.1f}",
            str(file["num_speakers"]),
            str(file["num_turns"]),
            f"{file['seconds']:.2f}",
        ]
        for file in files
    ]
    print(format_table(["recording", "windows", "speech s", "speakers", "turns", "seconds"], rows))
