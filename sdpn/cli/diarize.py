"""``sdpn diarize``: recordings to turns, as RTTM or in other formats."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.audio_arguments import add_audio_arguments
from sdpn.cli.clusterer_arguments import add_diarization_clusterer
from sdpn.cli.diarization_arguments import diarization_config, diarization_settings
from sdpn.cli.imports import import_pyannote
from sdpn.cli.model_arguments import (
    add_model_arguments,
    add_precision_argument,
    add_runtime_argument,
    load_for_runtime,
)
from sdpn.cli.numbers import at_least
from sdpn.cli.people_arguments import add_people_arguments
from sdpn.cli.progress import Meter
from sdpn.cli.segmentation_arguments import add_segmentation_arguments, load_segmentation_argument
from sdpn.cli.shard_arguments import add_shard_arguments, file_stamp, parsed_shard
from sdpn.cli.speaker_counts import add_count_arguments, check_count_arguments
from sdpn.cli.stream_arguments import add_stream_arguments, check_stream_arguments, run_stream
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.io.inputs import STDIN, recordings
from sdpn.pretrained import model_path
from sdpn.threads import usable_threads

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections
    from sdpn.cli.shard_arguments import ShardWork
    from sdpn.diarization.outputs import LabelledChannel
    from sdpn.diarization.recordings import WritePage
    from sdpn.formats.who_spoke_when import WhoSpokeWhen
    from sdpn.io.rttm import Turn
    from sdpn.models.speaker_embedder import SpeakerEmbedder
    from sdpn.people.naming import PeopleOptions

DESCRIPTION = """\
Find out who spoke when, and write the turns of each recording as RTTM, or as --format says: rttm, json
(everything: talk times, turns with one speaker at a time, a receipt), csv, srt, vtt, audacity (labels),
textgrid (Praat), elan.

Accepts nearly any audio format (docs/audio.md) at any sampling rate, of any length and with any number of
channels; - is standard input, and a folder stands for all audio below it. A recording without speech gets
files without turns. Speakers are labelled speaker00, speaker01, ... within each recording: the same label in
two recordings does not mean the same person. With --people, those whom 'sdpn enroll' knows have their names,
and others are unknown00, unknown01, ... With --channel separate, each channel has its own speakers.

With --segmentation, a local segmentation network hears where two speak at the same time, and turns overlap
there (docs/segmentation.md).

With --stream, events are printed while the recording goes on, from raw samples on standard input, a
microphone or a file (docs/streaming.md).

Several processes can share the work with --shard, see 'sdpn batch'; --merge checks that nothing is missing.

Rerunning the command resumes it: recordings that were already diarized with the same audio, model and
settings are skipped (recorded in DIR/.diarized).
"""

EXAMPLE = """\
  sdpn diarize --out out/ meeting.wav
  sdpn diarize --model exp/mini/model --out out/ meeting.wav
  sdpn diarize --model exp/mini/model --out out/ --min-speakers 2 --max-speakers 6 *.flac
  sdpn diarize --out out/ --skip-bad recordings/
  sdpn diarize --out out/ --format rttm,json,srt interview.mp3
  sdpn diarize --out out/ --report --ref meeting.ref.rttm meeting.wav
  sdpn diarize --out out/ --channel separate calls/
  sdpn diarize --out out/ --cut interview.wav     # out/interview.cut/speakers/speaker00.wav and so on
  sdpn enroll --name "Anna Lee" --people people/ anna.wav; sdpn diarize --out out/ --people people/ talk.wav
  sdpn diarize --out out/ --segmentation pyannote/segmentation-3.0 meeting.wav
  sdpn diarize --out out/ --config exp/tuned/settings.yaml meeting.wav
  sdpn diarize --out out/ vad.threshold=0.4 window_s=2 merging.prior_odds=0.5 meeting.wav
  ffmpeg -i talk.mkv -f wav - | sdpn diarize --out out/ -
  arecord -f S16_LE -r 16000 -t raw | sdpn diarize --stream --rate 16000 --latency 1 -
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn diarize``."""
    parser.add_argument(
        "audio", nargs="+", type=Path, metavar="AUDIO", help="files, folders, or - for standard input"
    )
    add_model_arguments(parser, formats_of_turns=True)
    add_runtime_argument(parser)
    add_precision_argument(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="writes DIR/<name>.rttm")
    parser.add_argument(
        "--embeddings",
        action="store_true",
        help="with --format json: the mean embedding of every speaker",
    )
    parser.add_argument(
        "--cut",
        action="store_true",
        help="also write DIR/<name>.cut/: WAV files of every speaker and of every turn, sample for sample",
    )
    parser.add_argument("--force", action="store_true", help="diarize finished recordings again")
    parser.add_argument(
        "--together",
        type=at_least(1),
        metavar="N",
        help="recordings that are read at the same time, in one thread each, and whose windows share batches "
        "(default: with a GPU the number of cores, else 1)",
    )
    add_audio_arguments(parser)
    add_count_arguments(parser)
    add_diarization_clusterer(parser)
    people = parser.add_argument_group("known people")
    add_people_arguments(people, required=False)
    people.add_argument(
        "--false-alarms",
        type=float,
        metavar="P",
        help="with --people: false-alarm rate, the share of strangers who may get a name (default: 0.01)",
    )
    parser.add_argument(
        "--reference-speech",
        type=Path,
        metavar="RTTM",
        help="use the turns of this file as speech, regardless of speaker, instead of voice activity "
        "detection",
    )
    add_segmentation_arguments(parser)
    add_shard_arguments(parser, "diarize nothing, only check that every recording is finished")
    report = parser.add_argument_group("page to look at and listen to")
    report.add_argument(
        "--report",
        action="store_true",
        help="also write DIR/<name>.html for each recording: waveform, turns, sound, talk times and voices, "
        "for any browser, offline",
    )
    report.add_argument(
        "--ref",
        nargs="+",
        type=Path,
        metavar="RTTM",
        help="reference files, or folders of *.rttm; pages of --report then show every error",
    )
    add_stream_arguments(parser)


def settings() -> Sections:
    """The settings of the pipeline, and of each clusterer."""
    return diarization_settings()


def shard_work(args: argparse.Namespace) -> ShardWork:
    """What shards of ``sdpn batch`` have to do: recordings.

    Raises:
        InputError: standard input or a stream cannot be divided.
    """
    if args.stream or STDIN in args.audio:
        raise InputError("a stream cannot be divided into shards", hint="give files or folders")
    lines = [f"{name} {file_stamp(path)}" for name, path in recordings(args.audio).items()]
    return lambda shard: shard.of(lines)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Diarize every unfinished recording; failures are reported at the end and do not stop the others.

    Raises:
        InputError: before any work if an option, a name or a file's header is wrong, or at the end if some
            recordings failed.
    """
    check_stream_arguments(args)
    if args.stream:
        return run_stream(args, diarization_config(args))
    _check_options(args)
    config = diarization_config(args)
    people = _people(args)
    audio_of = recordings(args.audio)
    shard = parsed_shard(args)
    if shard is not None:
        audio_of = dict(shard.of(list(audio_of.items())))
    if not audio_of:
        print(f"shard {args.shard}: no recordings")
        return {"files": [], "left_out": [], "total": {}}

    import_pyannote()
    from sdpn.diarization.recordings import (
        RecordingOptions,
        check_headers,
        check_not_written,
        diarize_recordings,
        read_speech,
    )

    options = RecordingOptions(
        channel=args.channel,
        num_speakers=args.num_speakers,
        min_speakers=args.min_speakers,
        max_speakers=args.max_speakers,
        skip_bad=args.skip_bad,
        force=args.force,
        formats=args.turn_formats,
        speaker_embeddings=args.embeddings,
        exclusive=args.exclusive,
        report=args.report,
        cut=args.cut,
    )
    reference = _reference(args, list(audio_of))
    check_not_written(args.json, audio_of, args.out, options)
    bad = check_headers(audio_of, options)  # before the model is loaded
    speech_of = None if args.reference_speech is None else read_speech(args.reference_speech, list(audio_of))

    from sdpn import __version__
    from sdpn.diarization.outputs import pipeline_settings
    from sdpn.diarization.pipeline import Diarizer
    from sdpn.people.naming import load_naming
    from sdpn.receipt import origin_of

    model = load_for_runtime(args)
    options = replace(options, together=args.together or _together(model, len(audio_of)))
    segmenter = load_segmentation_argument(args)
    diarizer = Diarizer(model, config=config, segmentation=segmenter)
    made_with: dict[str, Any] = {
        "sdpn": __version__,
        "model": model.fingerprint,
        "segmentation": None if segmenter is None else segmenter.digest,
    }
    origin = origin_of(model, args.model, args.format, segmenter, args.segmentation)
    if reference is not None:
        made_with["reference"] = repr(sorted(reference.items()))
    naming = None
    if people is not None:
        naming = load_naming(model, model_path(args.model), people)
        made_with["people"] = naming.known.digest
        origin["people"] = {**people.to_dict(), "digest": naming.known.digest}
    meter = Meter(quiet=args.quiet, unit="min of audio")
    try:
        done = diarize_recordings(
            diarizer,
            audio_of,
            args.out,
            options,
            speech_of=speech_of,
            bad=bad,
            made_with=made_with,
            origin=origin,
            naming=naming,
            write_page=_page_writer(reference, args.skip_bad) if args.report else None,
            check_only=args.merge,
            on_progress=partial(_show, meter, len(audio_of)),
        )
    finally:
        meter.finish()
    results = {
        "settings": pipeline_settings(diarizer),
        "files": done.files,
        "left_out": [
            {"recording": name, "audio": str(audio_of[name]), "reason": str(why)}
            for name, why in done.left_out.items()
        ],
        "total": done.total,
    }
    _print(results)
    done.raise_failures()
    return results


def _together(model: SpeakerEmbedder, num_recordings: int) -> int:
    """Recordings at the same time: a GPU waits for one thread that reads and listens."""
    return 1 if model.device_type == "cpu" else max(2, min(usable_threads(), num_recordings))


def _check_options(args: argparse.Namespace) -> None:
    check_count_arguments(args)
    if args.reference_speech is not None and args.channel == "separate":
        raise InputError("--reference-speech does not distinguish channels", hint="give --channel N")
    if args.cut and STDIN in args.audio:
        raise InputError(
            "--cut reads a recording twice, but standard input can be read only once",
            hint="save it to a file first",
        )
    if args.exclusive and args.segmentation is None:
        raise InputError("--exclusive has no effect without --segmentation", hint="turns do not overlap then")


def _reference(args: argparse.Namespace, recordings: Sequence[str]) -> dict[str, list[Turn]] | None:
    """The true turns of the recordings; None without ``--ref``."""
    if args.ref is None:
        return None
    if not args.report:
        raise InputError("--ref has no effect without --report", hint="'sdpn score' computes error rates")
    from sdpn.evaluation.score import rttm_files
    from sdpn.io.rttm import lacking, read_rttms

    turns_of = read_rttms(rttm_files(args.ref))
    if problem := lacking(turns_of, recordings):
        raise InputError(
            f"--ref {problem}",
            hint="ids in RTTM files are file names without their suffix",
        )
    return {recording: turns_of[recording] for recording in recordings}


def _page_writer(reference: Mapping[str, Sequence[Turn]] | None, keep_truncated: bool) -> WritePage:
    """Writes the page of a recording."""
    from sdpn.report.recording_page import write_recording_page

    def write(path: Path, spoken: WhoSpokeWhen, channels: Sequence[LabelledChannel]) -> None:
        true = None if reference is None else reference[spoken.recording]
        write_recording_page(path, spoken, channels, reference=true, keep_truncated=keep_truncated)

    return write


def _people(args: argparse.Namespace) -> PeopleOptions | None:
    """The people to know; None without ``--people``."""
    if args.people is None:
        if args.back_end is not None or args.false_alarms is not None:
            raise InputError("--back-end and --false-alarms need --people FOLDER")
        return None
    if STDIN in args.audio:
        raise InputError(
            "--people reads a recording twice, but standard input can be read only once",
            hint="save it to a file first",
        )
    from sdpn.people.identify import FALSE_ALARMS
    from sdpn.people.naming import PeopleOptions

    rate = FALSE_ALARMS if args.false_alarms is None else args.false_alarms
    return PeopleOptions(folder=args.people, back_end=args.back_end, false_alarms=rate)


def _show(meter: Meter, of: int, number: int, recording: str, done_s: float, total_s: float | None) -> None:
    where = f" {number}/{of}, {recording}" if of > 1 else ""
    minutes = None if total_s is None else round(max(total_s, done_s) / 60, 1)
    meter.show(f"diarizing{where}", round(done_s / 60, 1), minutes)


def _print(results: Mapping[str, Any]) -> None:
    files, total = results["files"], results["total"]
    now = [file for file in files if not file["finished_before"]]
    if now:
        width = max(len("recording"), *(len(file["recording"]) for file in now))
        print(f"{'recording':<{width}}  speakers  turns  speech s  length s     RTF  files")
        for file in now:
            print(
                f"{file['recording']:<{width}}  {file['num_speakers']:>8}  {file['num_turns']:>5}"
                f"  {file['speech_s']:>8.1f}  {file['duration_s']:>8.1f}"
                f"  {file['seconds'] / file['duration_s']:>6.3f}  {_files(file['outputs'])}"
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


def _files(outputs: Mapping[str, str]) -> str:
    first = next(iter(outputs.values()))
    suffixes = [Path(other).suffix if name != "cut" else ".cut" for name, other in list(outputs.items())[1:]]
    return first + (f" and {', '.join(suffixes)}" if suffixes else "")


def _count(what: Sequence[object]) -> str:
    return "1 recording" if len(what) == 1 else f"{len(what)} recordings"
