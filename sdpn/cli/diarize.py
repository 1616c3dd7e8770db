"""``sdpn diarize``: recordings to RTTM."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import add_model_arguments, load
from sdpn.cli.progress import track
from sdpn.cli.speaker_counts import add_count_arguments, check_count_arguments
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.diarization.pipeline import Diarizer

DESCRIPTION = """\
Find out who spoke when in recordings, and write one RTTM file for each.

The audio may be any file that libsndfile reads, at any rate and with any number of channels. A recording in
which nobody speaks gets an empty RTTM file. Speakers are speaker00, speaker01, ... in each recording: the
same label in two recordings does not mean the same person.
"""

EXAMPLE = """\
  sdpn diarize --out out/ meeting.wav
  sdpn diarize --model exp/mini/model --out out/ meeting.wav
  sdpn diarize --model exp/mini/model --out out/ --min-speakers 2 --max-speakers 6 *.flac
"""

logger = logging.getLogger(__name__)

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn diarize``."""
    from sdpn.clustering.registry import CLUSTERERS

    parser.add_argument("audio", nargs="+", type=Path, metavar="AUDIO", help="recordings")
    add_model_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="writes DIR/<name>.rttm")
    add_count_arguments(parser)
    clustering = parser.add_argument_group("clustering")
    clustering.add_argument(
        "--method", choices=tuple(CLUSTERERS), default="vbx", help="clusterer (default: %(default)s)"
    )
    clustering.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="mean cosine similarity from which two clusters of ahc, or of those that vbx starts from, are "
        "one speaker; a higher one gives more speakers (default: ahc takes the model's, vbx the recording's)",
    )
    parser.add_argument(
        "--reference-speech",
        type=Path,
        metavar="RTTM",
        help="take the speech from the turns of this file, whoever speaks, instead of detecting it",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Diarize every recording; one that fails is reported at the end and does not stop the others.

    Raises:
        InputError: before any work if an option, a name or a file's header is wrong, or at the end if some
            recordings failed.
    """
    _check_options(args)
    audio_of = _recordings(args.audio)
    _check_headers(list(audio_of.values()))
    speech_of = None if args.reference_speech is None else _speech(args.reference_speech, list(audio_of))

    from sdpn.diarization.pipeline import DiarizationConfig, Diarizer

    settings = {} if args.threshold is None else {"threshold": args.threshold}
    config = DiarizationConfig(method=args.method, settings=settings)
    diarizer = Diarizer(load(args), config=config)

    files: list[dict[str, Any]] = []
    failures: list[InputError] = []
    for recording, audio in track(
        audio_of.items(), description="diarizing", total=len(audio_of), quiet=args.quiet
    ):
        speech = None if speech_of is None else speech_of[recording]
        try:
            files.append(_diarize(diarizer, recording, audio, speech, args))
        except InputError as error:
            failures.append(error)
    results = {"files": files, "total": _total(files)}
    _print(results)
    if failures:
        raise _together(failures, of=len(audio_of), what="could not be diarized")
    return results


def _check_options(args: argparse.Namespace) -> None:
    from sdpn.clustering.registry import CLUSTERERS, takes

    check_count_arguments(args)
    if args.threshold is not None and not takes(args.method, "threshold"):
        users = ", ".join(method for method in CLUSTERERS if takes(method, "threshold"))
        raise InputError(f"{args.method} has no threshold", hint=f"those that have: {users}")
    if args.threshold is not None and args.num_speakers is not None:
        raise InputError("--threshold has no effect with --num-speakers", hint="give one of them")


def _recordings(paths: Sequence[Path]) -> dict[str, Path]:
    """Name the recordings by their stems, in which RTTM allows no white space."""
    audio_of: dict[str, Path] = {}
    for path in paths:
        recording = "_".join(path.stem.split())
        if recording != path.stem:
            logger.info("%s is called %r in its RTTM, which allows no white space", path, recording)
        if recording in audio_of:
            raise InputError(
                f"has the recording id {recording!r}, and so has {audio_of[recording]}",
                path=path,
                hint="rename one, or diarize them into different folders",
            )
        audio_of[recording] = path
    return audio_of


def _check_headers(paths: Sequence[Path]) -> None:
    """Find a wrong name among forty before thirty-nine are diarized."""
    from sdpn.io import audio

    failures = []
    for path in paths:
        try:
            audio.info(path)
        except InputError as error:
            failures.append(error)
    if failures:
        raise _together(failures, of=len(paths), what="cannot be read, and none was diarized")


def _speech(rttm: Path, recordings: Sequence[str]) -> Mapping[str, list[tuple[float, float]]]:
    from sdpn.io.rttm import read_rttm

    turns_of = read_rttm(rttm)
    missing = [recording for recording in recordings if recording not in turns_of]
    if missing:
        raise InputError(
            f"has no recording {missing[0]!r}" + (f" (and {len(missing) - 1} more)" if missing[1:] else ""),
            path=rttm,
            hint="--reference-speech needs every recording; ids are file names without their suffix",
        )
    return {
        recording: [(turn.onset_s, turn.end_s) for turn in turns_of[recording]] for recording in recordings
    }


def _diarize(
    diarizer: Diarizer,
    recording: str,
    audio: Path,
    speech: Sequence[tuple[float, float]] | None,
    args: argparse.Namespace,
) -> dict[str, Any]:
    from sdpn.io.rttm import from_annotation, write_rttm

    started = time.perf_counter()
    embedded = diarizer.embed(audio, speech=speech)
    annotation = diarizer.label(
        embedded,
        num_speakers=args.num_speakers,
        min_speakers=1 if args.min_speakers is None else args.min_speakers,
        max_speakers=args.max_speakers,
    )
    rttm = args.out / f"{audio.stem}.rttm"
    turns = from_annotation(annotation, recording)
    write_rttm(rttm, recording, turns)
    return {
        "recording": recording,
        "audio": str(audio),
        "rttm": str(rttm),
        "duration_s": embedded.duration_s,
        "speech_s": sum(segment.duration_s for segment in embedded.speech),
        "num_speakers": len(annotation.labels()),
        "num_turns": len(turns),
        "seconds": time.perf_counter() - started,
    }


def _total(files: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    duration_s = sum(file["duration_s"] for file in files)
    seconds = sum(file["seconds"] for file in files)
    return {
        "duration_s": duration_s,
        "seconds": seconds,
        "real_time_factor": seconds / duration_s if duration_s else 0.0,
    }


def _print(results: Mapping[str, Any]) -> None:
    files, total = results["files"], results["total"]
    if not files:
        return
    width = max(len("recording"), *(len(file["recording"]) for file in files))
    print(f"{'recording':<{width}}  speakers  turns  speech s  length s     RTF  RTTM")
    for file in files:
        print(
            f"{file['recording']:<{width}}  {file['num_speakers']:>8}  {file['num_turns']:>5}"
            f"  {file['speech_s']:>8.1f}  {file['duration_s']:>8.1f}"
            f"  {file['seconds'] / file['duration_s']:>6.3f}  {file['rttm']}"
        )
    count = "1 recording" if len(files) == 1 else f"{len(files)} recordings"
    print(
        f"{count}, {total['duration_s']:.1f} s, in {total['seconds']:.1f} s: "
        f"real-time factor {total['real_time_factor']:.3f}"
    )


def _together(failures: Sequence[InputError], *, of: int, what: str) -> InputError:
    """One error for several; a single one with nothing beside it is already clear."""
    if of == 1:
        return failures[0]
    reasons = "; ".join(str(failure) for failure in failures)
    return InputError(f"{len(failures)} of {of} recordings {what}: {reasons}")
