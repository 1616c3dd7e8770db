"""``sdpn diarize --stream``: its options, and its run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import load_for_runtime
from sdpn.cli.speaker_counts import check_count_arguments
from sdpn.errors import InputError
from sdpn.io.inputs import STDIN
from sdpn.stopping import collects_signals

if TYPE_CHECKING:
    from sdpn.diarization.pipeline import DiarizationConfig
    from sdpn.streaming.events import Event
    from sdpn.streaming.sources import Arrived

#: AUDIO that is the microphone; a device can follow.
MICROPHONE = "mic:"

#: Options that concern whole recordings.
_WITHOUT = (
    ("people", "--people"),
    ("reference_speech", "--reference-speech"),
    ("embeddings", "--embeddings"),
    ("skip_bad", "--skip-bad"),
    ("force", "--force"),
    ("exclusive", "--exclusive"),
    ("segmentation", "--segmentation"),
    ("cut", "--cut"),
    ("report", "--report"),
    ("ref", "--ref"),
)
#: Options that concern streams.
_ONLY = (
    ("latency", "--latency"),
    ("rate", "--rate"),
    ("sample_format", "--sample-format"),
    ("num_channels", "--num-channels"),
    ("events", "--events"),
)


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("live")
    group.add_argument(
        "--stream",
        action="store_true",
        help="diarize while AUDIO is heard: - (raw samples with --rate, otherwise any audio format), "
        f"{MICROPHONE} or {MICROPHONE}DEVICE, or a file that is played as a stream; events go to standard "
        "output (docs/streaming.md), and --out is optional",
    )
    group.add_argument(
        "--latency",
        type=float,
        metavar="S",
        help="what is said has a speaker after S seconds, 0.5 to 5 (default: 2)",
    )
    group.add_argument(
        "--rate", type=int, metavar="HZ", help="sampling rate of raw samples, or of a microphone"
    )
    group.add_argument(
        "--sample-format",
        metavar="FORMAT",
        help="of raw samples: s16le, s16be, s32le, f32le, s8 or u8 (default: s16le)",
    )
    group.add_argument(
        "--num-channels",
        type=int,
        metavar="N",
        help="channels of raw samples, which are averaged (default: 1)",
    )
    group.add_argument(
        "--events",
        choices=("json", "text"),
        help="events as JSON lines, or for people (default: text on a terminal, otherwise json)",
    )


def check_stream_arguments(args: argparse.Namespace) -> None:
    """Check what has no effect with, or without, ``--stream``.

    Raises:
        InputError: there is such an option, or one is missing.
    """
    if not args.stream:
        for name, option in _ONLY:
            if getattr(args, name) is not None:
                raise InputError(f"{option} has no effect without --stream")
        if args.out is None:
            raise InputError(
                "--out DIR is missing", hint="where to write the turns; only --stream does without"
            )
        return
    for name, option in _WITHOUT:
        if getattr(args, name):
            raise InputError(
                f"{option} is not possible with --stream", hint="diarize the recording afterwards"
            )
    if args.channel == "separate":
        raise InputError("--channel separate is not possible with --stream", hint="give --channel N")
    if len(args.audio) > 1:
        raise InputError(f"--stream takes one recording, and {len(args.audio)} are given")
    if args.out is None and args.turn_formats != ("rttm",):
        raise InputError("--format has no effect without --out DIR")
    is_pcm = args.audio[0] == STDIN and args.rate is not None
    if not is_pcm:
        for name, option in _ONLY[2:4]:
            if getattr(args, name) is not None:
                raise InputError(f"{option} is of raw samples", hint="give - as AUDIO, and --rate HZ")
        if args.rate is not None and not _is_microphone(args.audio[0]):
            raise InputError("--rate is of raw samples", hint="a file has its own rate")


def run_stream(args: argparse.Namespace, config: DiarizationConfig) -> dict[str, Any]:
    """Diarize a stream.

    Raises:
        InputError: an option is wrong, or the source cannot be read.
    """
    check_count_arguments(args)

    from sdpn.formats.registry import find_formats, write_turns
    from sdpn.formats.who_spoke_when import WhoSpokeWhen
    from sdpn.io.rttm import from_annotation
    from sdpn.streaming.diarizer import StreamingConfig, StreamingDiarizer
    from sdpn.streaming.events import as_text
    from sdpn.streaming.run import diarize_stream

    formats = find_formats(args.turn_formats)
    audio = args.audio[0]
    is_file = audio != STDIN and not _is_microphone(audio)
    name = audio.stem if is_file else "microphone" if _is_microphone(audio) else "stdin"
    settings = {} if args.latency is None else {"latency_s": args.latency}
    streaming = StreamingConfig(**{**vars(config), **settings})
    blocks = _blocks(args)
    diarizer = StreamingDiarizer(
        load_for_runtime(args),
        config=streaming,
        num_speakers=args.num_speakers,
        min_speakers=1 if args.min_speakers is None else args.min_speakers,
        max_speakers=args.max_speakers,
        recording=name,
    )
    is_json = args.events == "json" or (args.events is None and not sys.stdout.isatty())
    counts: dict[str, int] = {}

    def show(event: Event) -> None:
        counts[event.kind] = counts.get(event.kind, 0) + 1
        print(json.dumps(event.to_dict()) if is_json else as_text(event), flush=True)

    with collects_signals() as received:
        end = diarize_stream(diarizer, blocks, show, stopped=received)
    files = {}
    if args.out is not None:
        recording = "_".join(name.split())
        files = {kind: str(args.out / f"{name}{suffix}") for kind, suffix in _suffixes(formats)}
        turns = from_annotation(diarizer.turns, recording)
        spoken = WhoSpokeWhen(
            recording=recording,
            audio=audio if is_file else None,
            duration_s=diarizer.heard_s,
            turns=turns,
            exclusive=turns,
        )
        args.out.mkdir(parents=True, exist_ok=True)
        write_turns(spoken, {kind: Path(file) for kind, file in files.items()})
    return {
        "recording": name,
        "latency_s": streaming.latency_s,
        "events": counts,
        "outputs": files,
        "end": end.to_dict(),
    }


def _suffixes(formats: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    from sdpn.formats.registry import TURN_FORMATS

    return ((name, TURN_FORMATS[name].suffix) for name in formats)


def _blocks(args: argparse.Namespace) -> Iterator[Arrived | None]:
    from sdpn.streaming.sources import file_blocks, microphone_blocks, pcm_blocks

    audio = args.audio[0]
    if _is_microphone(audio):
        return microphone_blocks(str(audio)[len(MICROPHONE) :] or None, rate_hz=args.rate or 16000)
    if audio == STDIN and args.rate is not None:
        return pcm_blocks(
            sys.stdin.buffer,
            rate_hz=args.rate,
            sample_format=args.sample_format or "s16le",
            num_channels=1 if args.num_channels is None else args.num_channels,
        )
    return file_blocks(audio, channel=args.channel)


def _is_microphone(audio: Path) -> bool:
    return str(audio).startswith(MICROPHONE)
