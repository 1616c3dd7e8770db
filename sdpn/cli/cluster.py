"""``sdpn cluster``: embeddings of windows to RTTM."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
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
    import numpy as np

    from sdpn.cli.settings import Sections
    from sdpn.clustering.base import Clusterer
    from sdpn.io.kaldi import RecordingSegment
    from sdpn.verification.plda import Plda
    from sdpn.verification.transform import Transform

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
    parser.add_argument("--embeddings", required=True, type=Path, metavar="ARK|SCP", help="one per window")
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
        why="since vbx wants a PLDA beside the embeddings; 'sdpn diarize' knows its embeddings and takes vbx",
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
    from sdpn.io.kaldi import read_vectors
    from sdpn.verification.plda import read_plda
    from sdpn.verification.transform import read_transform

    _check_options(args)
    plda = None if args.plda is None else read_plda(args.plda)
    given = map(parse_override, [*args.set, *args.settings])
    clusterer = make_clusterer(args.method, clusterer_settings(args, given), plda=plda)
    transform = None if args.transform is None else read_transform(args.transform)
    recordings = _recordings(args.segments)
    vectors = read_vectors(args.embeddings)
    _check_ids(recordings, vectors, args)
    rows_ND = _rows(vectors, transform, plda, args.embeddings)
    row_of = {key: row for row, key in enumerate(vectors)}

    files: list[dict[str, Any]] = []
    failures: list[InputError] = []
    for recording, windows in track(
        recordings.items(), description="clustering", total=len(recordings), quiet=args.quiet
    ):
        emb_ND = rows_ND[[row_of[window.id] for window in windows]]
        try:
            files.append(_cluster(clusterer, recording, windows, emb_ND, args))
        except InputError as error:
            failures.append(InputError(f"recording {recording!r}: {error.message}", hint=error.hint))
    if files:
        _print(files)
    if failures:
        others = f" (and {len(failures) - 1} more recordings failed)" if failures[1:] else ""
        raise InputError(failures[0].message + others, path=args.segments, hint=failures[0].hint)
    return {"files": files}


def _check_options(args: argparse.Namespace) -> None:
    check_count_arguments(args)
    if args.min_windows > 1 and args.num_speakers is not None:
        raise InputError("--min-windows would change the number of speakers fixed by --num-speakers")


def _recordings(path: Path) -> dict[str, list[RecordingSegment]]:
    """The windows of each recording in chronological order."""
    import numpy as np

    from sdpn.io.kaldi import read_segments
    from sdpn.io.text import is_file_name

    recordings: dict[str, list[RecordingSegment]] = {}
    for window in read_segments(path):
        if window.end_s is None:
            raise InputError(
                f"window {window.id!r} has no end time",
                path=path,
                hint="expected an end time in seconds, not -1",
            )
        recordings.setdefault(window.recording, []).append(window)
    for recording, windows in recordings.items():
        if not is_file_name(recording):
            raise InputError(f"recording {recording!r} is not a valid file name", path=path)
        windows.sort(key=lambda window: (window.start_s, window.end_s))
        ends_N = np.array([window.end_s for window in windows])
        if (np.diff(ends_N) < 0).any():
            inner = int(np.argmax(np.diff(ends_N) < 0))
            raise InputError(
                f"window {windows[inner + 1].id!r} lies within {windows[inner].id!r}",
                path=path,
                hint="no window may lie within another",
            )
    return recordings


def _check_ids(
    recordings: Mapping[str, Sequence[RecordingSegment]],
    vectors: Mapping[str, np.ndarray],
    args: argparse.Namespace,
) -> None:
    """Every window needs an embedding, and every embedding a window."""
    windows = {window.id for of_one in recordings.values() for window in of_one}
    for missing, of, path in (
        (windows - vectors.keys(), args.embeddings, args.segments),
        (vectors.keys() - windows, args.segments, args.embeddings),
    ):
        if missing:
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(f"utterance {min(missing)!r}{others} is not in {of}", path=path)


def _rows(
    vectors: Mapping[str, np.ndarray], transform: Transform | None, plda: Plda | None, path: Path
) -> np.ndarray:
    """All embeddings as one matrix (N, D), in the space in which they are clustered."""
    import numpy as np

    for key, vector in vectors.items():
        if not vector.any():
            raise InputError(f"the vector of {key!r} is all zeros and has no direction", path=path)
    rows_ND = np.stack(list(vectors.values()))
    try:
        if transform is not None:
            rows_ND = transform(rows_ND)
        if plda is not None:
            plda.project(rows_ND[:1])  # tells of another dimension before any work
    except InputError as error:
        raise InputError(error.message, path=path, hint=error.hint) from None
    return rows_ND


def _cluster(
    clusterer: Clusterer,
    recording: str,
    windows: Sequence[RecordingSegment],
    emb_ND: np.ndarray,
    args: argparse.Namespace,
) -> dict[str, Any]:
    import numpy as np

    from sdpn.clustering.force_count import without_minor
    from sdpn.diarization.timeline import label_speech
    from sdpn.diarization.windows import windows_at
    from sdpn.io.rttm import Turn, write_rttm
    from sdpn.verification.similarity import cosine

    started = time.perf_counter()
    times_N2 = np.array([(window.start_s, window.end_s) for window in windows])
    low = args.min_speakers or 1
    labels_N = clusterer.fit_predict(
        emb_ND,
        times_N2=times_N2,
        num_speakers=args.num_speakers,
        min_speakers=low,
        max_speakers=args.max_speakers,
    ).labels_N
    if args.min_windows > 1:
        labels_N = without_minor(labels_N, cosine(emb_ND), min_windows=args.min_windows, low=low)
    speech, places = windows_at(times_N2)
    turns = [
        Turn(recording, span.start_s, span.end_s - span.start_s, f"speaker{span.label:02d}")
        for span in label_speech(speech, places, labels_N, max_pause_s=0.0)
    ]
    rttm = args.out / f"{recording}.rttm"
    write_rttm(rttm, recording, turns)
    return {
        "recording": recording,
        "rttm": str(rttm),
        "num_windows": len(windows),
        "speech_s": sum(segment.duration_s for segment in speech),
        "num_speakers": int(labels_N.max()) + 1,
        "num_turns": len(turns),
        "seconds": time.perf_counter() - started,
    }


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
