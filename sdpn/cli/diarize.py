"""``sdpn diarize``: recordings to RTTM."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sdpn.cli.audio_arguments import add_audio_arguments
from sdpn.cli.clusterer_arguments import add_clusterer_arguments, clusterer_settings
from sdpn.cli.model_arguments import add_model_arguments, load
from sdpn.cli.progress import Meter
from sdpn.cli.speaker_counts import add_count_arguments, check_count_arguments
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.io.inputs import STDIN, recordings

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections
    from sdpn.diarization.finished import Finished
    from sdpn.diarization.pipeline import DiarizationConfig, Diarizer, Progress
    from sdpn.models.embedder import Embedder

DESCRIPTION = """\
Find out who spoke when, and write one RTTM file for each recording.

Accepts nearly any audio format (docs/audio.md) at any sampling rate, of any length and with any number of
channels; - is standard input, and a folder stands for all audio below it. A recording without speech gets an
empty RTTM file. Speakers are labelled speaker00, speaker01, ... within each recording: the same label in two
recordings does not mean the same person. With --channel separate, each channel has its own speakers.

Rerunning the command resumes it: recordings that were already diarized with the same audio, model and
settings are skipped (recorded in DIR/.diarized).
"""

EXAMPLE = """\
  sdpn diarize --out out/ meeting.wav
  sdpn diarize --model exp/mini/model --out out/ meeting.wav
  sdpn diarize --model exp/mini/model --out out/ --min-speakers 2 --max-speakers 6 *.flac
  sdpn diarize --out out/ --skip-bad recordings/
  sdpn diarize --out out/ --channel separate calls/
  sdpn diarize --out out/ vad.threshold=0.4 window_s=2 vbx.fa=0.3 meeting.wav
  ffmpeg -i talk.mkv -f wav - | sdpn diarize --out out/ -
"""

#: Standard input, which may be a file and still is read once.
_STDIN = (STDIN, Path("/dev/stdin"))

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn diarize``."""
    parser.add_argument(
        "audio", nargs="+", type=Path, metavar="AUDIO", help="files, folders, or - for standard input"
    )
    add_model_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="writes DIR/<name>.rttm")
    parser.add_argument("--force", action="store_true", help="diarize finished recordings again")
    add_audio_arguments(parser)
    add_count_arguments(parser)
    add_clusterer_arguments(
        parser,
        default="vbx",
        why="the best on conversations of unseen speakers",
        threshold="for ahc the model's calibrated threshold, for vbx one estimated from each recording",
    )
    parser.add_argument(
        "--reference-speech",
        type=Path,
        metavar="RTTM",
        help="use the turns of this file as speech, regardless of speaker, instead of voice activity "
        "detection",
    )


def settings() -> Sections:
    """The settings of the pipeline, and of each clusterer."""
    from sdpn.clustering.registry import CLUSTERERS
    from sdpn.diarization.pipeline import PipelineConfig

    return {"": PipelineConfig, **CLUSTERERS}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Diarize every unfinished recording; failures are reported at the end and do not stop the others.

    Raises:
        InputError: before any work if an option, a name or a file's header is wrong, or at the end if some
            recordings failed.
    """
    _check_options(args)
    config = _config(args)
    audio_of = recordings(args.audio)
    bad = _check_headers(audio_of, args)
    speech_of = None if args.reference_speech is None else _speech(args.reference_speech, list(audio_of))

    from sdpn.config import to_dict
    from sdpn.diarization.pipeline import Diarizer

    model = load(args)
    diarizer = Diarizer(model, config=config)
    finished = _finished(diarizer, model, args)

    files: list[dict[str, Any]] = []
    failures: list[InputError] = []
    meter = Meter(quiet=args.quiet, unit="min of audio")
    for number, (recording, audio) in enumerate(audio_of.items(), start=1):
        if recording in bad:
            continue
        work = _Work(recording, audio, _rttm(args.out, recording, audio), (speech_of or {}).get(recording))
        known = None if args.force or not _can_be_read_again(audio) else finished.find(*work)
        if known is not None:
            files.append({**known, "audio": str(audio), "rttm": str(work.rttm), "finished_before": True})
            continue
        where = f" {number}/{len(audio_of)}, {recording}" if len(audio_of) > 1 else ""
        try:
            files.append(_diarize(diarizer, work, args, partial(_show, meter, f"diarizing{where}")))
        except _Unreadable as error:
            if args.skip_bad:
                bad[recording] = error.reason
            else:
                failures.append(error.reason)
        except InputError as error:
            failures.append(error)
        else:
            if _can_be_read_again(audio):
                finished.remember(*work, files[-1])
    meter.finish()
    left_out = [{"recording": name, "audio": str(audio_of[name]), "reason": str(bad[name])} for name in bad]
    results = {
        "settings": {**to_dict(config), args.method: to_dict(diarizer.clusterer)},
        "files": files,
        "left_out": left_out,
        "total": _total(files),
    }
    _print(results)
    if failures:
        raise _together(failures, of=len(audio_of), what="could not be diarized")
    if left_out and not files:
        raise _together(list(bad.values()), of=len(audio_of), what="cannot be read")
    return results


def _check_options(args: argparse.Namespace) -> None:
    check_count_arguments(args)
    if args.reference_speech is not None and args.channel == "separate":
        raise InputError("--reference-speech does not distinguish channels", hint="give --channel N")


def _config(args: argparse.Namespace) -> DiarizationConfig:
    """The settings of the pipeline and of the chosen clusterer."""
    from sdpn.clustering.registry import CLUSTERERS
    from sdpn.config import load_config, parse_override
    from sdpn.diarization.pipeline import DiarizationConfig, PipelineConfig

    of_clusterers: list[str] = []
    of_pipeline: list[str] = []
    for setting in args.settings:
        is_clusterer = setting.partition(".")[0] in CLUSTERERS
        (of_clusterers if is_clusterer else of_pipeline).append(setting)
    chosen = clusterer_settings(args, map(parse_override, of_clusterers))
    pipeline = load_config(PipelineConfig, None, of_pipeline)
    return DiarizationConfig(**vars(pipeline), method=args.method, settings=chosen)


def _check_headers(audio_of: Mapping[str, Path], args: argparse.Namespace) -> dict[str, InputError]:
    """Check all headers before any recording is diarized; with --skip-bad, return the failures."""
    from sdpn.io.audio import open_audio

    channel = None if args.channel == "separate" else args.channel
    bad: dict[str, InputError] = {}
    for recording, path in audio_of.items():
        if path in _STDIN or (path.exists() and not path.is_file()):
            continue  # to look at it would be to take from it
        try:
            with open_audio(path, channel=channel, keep_truncated=args.skip_bad):
                pass
        except InputError as error:
            bad[recording] = error
    if bad and not args.skip_bad:
        raise _together(list(bad.values()), of=len(audio_of), what="cannot be read; nothing was diarized")
    return bad


def _can_be_read_again(audio: Path) -> bool:
    """Whether it is a regular file, not a pipe."""
    return audio not in _STDIN and audio.is_file()


def _rttm(out: Path, recording: str, audio: Path) -> Path:
    """File names may contain white space, recording ids may not."""
    return out / f"{audio.stem if '_'.join(audio.stem.split()) == recording else recording}.rttm"


def _finished(diarizer: Diarizer, model: Embedder, args: argparse.Namespace) -> Finished:
    from sdpn import __version__
    from sdpn.diarization.finished import Finished
    from sdpn.extraction.settings import fingerprint

    return Finished(
        args.out,
        {
            "sdpn": __version__,
            "model": fingerprint(model),
            "config": repr(diarizer.config),
            "clusterer": repr(diarizer.clusterer),
            "counts": [args.num_speakers, args.min_speakers, args.max_speakers],
            "channel": args.channel,
            "keep_truncated": args.skip_bad,
        },
    )


def _show(meter: Meter, stage: str, done_s: float, total_s: float | None) -> None:
    minutes = None if total_s is None else round(max(total_s, done_s) / 60, 1)
    meter.show(stage, round(done_s / 60, 1), minutes)


def _speech(rttm: Path, recordings: Sequence[str]) -> Mapping[str, list[tuple[float, float]]]:
    from sdpn.io.rttm import read_rttm

    turns_of = read_rttm(rttm)
    missing = [recording for recording in recordings if recording not in turns_of]
    if missing:
        raise InputError(
            f"has no recording {missing[0]!r}" + (f" (and {len(missing) - 1} more)" if missing[1:] else ""),
            path=rttm,
            hint="--reference-speech must cover every recording; ids are file names without their suffix",
        )
    return {
        recording: [(turn.onset_s, turn.end_s) for turn in turns_of[recording]] for recording in recordings
    }


class _Work(NamedTuple):
    """One recording to diarize."""

    recording: str
    audio: Path
    rttm: Path
    speech: Sequence[tuple[float, float]] | None


class _Unreadable(Exception):
    """A recording that ``--skip-bad`` skips."""

    def __init__(self, reason: InputError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _diarize(diarizer: Diarizer, work: _Work, args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    from sdpn.io.rttm import from_annotation, write_rttm

    started = time.perf_counter()
    listening: dict[str, Any] = {
        "speech": work.speech,
        "keep_truncated": args.skip_bad,
        "progress": progress,
    }
    try:
        if args.channel == "separate":
            channels = diarizer.embed_channels(work.audio, **listening)
        else:
            channels = [diarizer.embed(work.audio, channel=args.channel, **listening)]
    except InputError as error:
        raise _Unreadable(error) from error
    annotations = diarizer.label_channels(
        channels,
        num_speakers=args.num_speakers,
        min_speakers=1 if args.min_speakers is None else args.min_speakers,
        max_speakers=args.max_speakers,
    )
    turns_of = [
        from_annotation(annotation, work.recording, channel=1 + (embedded.channel or 0))
        for embedded, annotation in zip(channels, annotations, strict=True)
    ]
    write_rttm(work.rttm, work.recording, [turn for turns in turns_of for turn in turns])
    each = [
        {
            "channel": "mix" if embedded.channel is None else embedded.channel,
            "speech_s": sum(segment.duration_s for segment in embedded.speech),
            "speakers": annotation.labels(),
            "num_turns": len(turns),
        }
        for embedded, annotation, turns in zip(channels, annotations, turns_of, strict=True)
    ]
    return {
        "recording": work.recording,
        "audio": str(work.audio),
        "rttm": str(work.rttm),
        "duration_s": channels[0].duration_s,
        "speech_s": sum(one["speech_s"] for one in each),
        "num_speakers": sum(len(one["speakers"]) for one in each),
        "num_turns": sum(one["num_turns"] for one in each),
        "channels": each,
        "seconds": time.perf_counter() - started,
        "finished_before": False,
    }


def _total(files: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Totals over the recordings diarized in this run."""
    files = [file for file in files if not file["finished_before"]]
    duration_s = sum(file["duration_s"] for file in files)
    seconds = sum(file["seconds"] for file in files)
    return {
        "duration_s": duration_s,
        "seconds": seconds,
        "real_time_factor": seconds / duration_s if duration_s else 0.0,
    }


def _print(results: Mapping[str, Any]) -> None:
    files, total = results["files"], results["total"]
    now = [file for file in files if not file["finished_before"]]
    if now:
        width = max(len("recording"), *(len(file["recording"]) for file in now))
        print(f"{'recording':<{width}}  speakers  turns  speech s  length s     RTF  RTTM")
        for file in now:
            print(
                f"{file['recording']:<{width}}  {file['num_speakers']:>8}  {file['num_turns']:>5}"
                f"  {file['speech_s']:>8.1f}  {file['duration_s']:>8.1f}"
                f"  {file['seconds'] / file['duration_s']:>6.3f}  {file['rttm']}"
            )
        print(
            f"{_count(now)}, {total['duration_s']:.1f} s, in {total['seconds']:.1f} s: "
            f"real-time factor {total['real_time_factor']:.3f}"
        )
    if len(files) > len(now):
        print(f"{_count(files[len(now) :])} already diarized and skipped (use --force to redo)")
    if results["left_out"]:
        print(f"{_count(results['left_out'])} skipped:")
        for one in results["left_out"]:
            print(f"  {one['reason']}")


def _count(what: Sequence[object]) -> str:
    return "1 recording" if len(what) == 1 else f"{len(what)} recordings"


def _together(failures: Sequence[InputError], *, of: int, what: str) -> InputError:
    """One error for several failures; a single failure of a single recording is passed on as it is."""
    if of == 1:
        return failures[0]
    reasons = "; ".join(str(failure) for failure in failures)
    return InputError(f"{len(failures)} of {of} recordings {what}: {reasons}")
