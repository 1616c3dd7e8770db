"""Many recordings to files of turns, resumed where it was interrupted: what ``sdpn diarize`` does."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any, Literal, NamedTuple

from sdpn.clustering.unheard import unheard_warning
from sdpn.diarization.embedded import EmbeddedRecording
from sdpn.diarization.finished import Finished
from sdpn.diarization.outputs import (
    LabelledChannel,
    Naming,
    channel_name,
    labelled_channels,
    pipeline_settings,
    who_spoke_when,
    with_receipt,
)
from sdpn.diarization.pipeline import Diarizer, Progress
from sdpn.diarization.shared_batches import SharedBatches
from sdpn.errors import InputError
from sdpn.formats.cut import INDEX, cut_audio
from sdpn.formats.registry import TURN_FORMATS, find_formats, write_turns
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.audio import open_audio
from sdpn.io.inputs import STDIN
from sdpn.io.rttm import lacking, read_rttm

_log = logging.getLogger(__name__)

#: Standard input, which may be a file and still is read once.
_STDIN = (STDIN, Path("/dev/stdin"))

#: Start and end of speech in seconds, by recording.
SpeechOf = Mapping[str, Sequence[tuple[float, float]]]

#: Writes the page of a recording: called with its file, who spoke when, and the channels.
WritePage = Callable[[Path, WhoSpokeWhen, Sequence[LabelledChannel]], None]

#: Called with (number of the recording from 1, its id, seconds of its audio done, all or None).
OnProgress = Callable[[int, str, float, "float | None"], None]


@dataclass(frozen=True, kw_only=True)
class RecordingOptions:
    """How recordings are read and diarized.

    Attributes:
        channel: channel to read; "separate" for the speakers of each; None is the mean of all.
        num_speakers: exactly that many in every recording; None estimates them.
        min_speakers: at least that many; None is 1.
        max_speakers: at most that many.
        skip_bad: leave out recordings that cannot be read, and use truncated ones as far as they go.
        force: diarize finished recordings again.
        formats: what is written, see `sdpn.formats.registry.TURN_FORMATS`.
        speaker_embeddings: whether the JSON document holds an embedding of every speaker.
        exclusive: write one speaker at a time, also with a segmentation network.
        report: also write a page of each recording.
        cut: also write the audio of every speaker and turn (`sdpn.formats.cut.cut_audio`).
        together: recordings that are read at the same time, each by a thread; their windows share batches.
            Embeddings may then differ in the last bits. For a GPU, which one thread cannot keep busy.
    """

    channel: int | Literal["separate"] | None = None
    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    skip_bad: bool = False
    force: bool = False
    formats: Sequence[str] = ("rttm",)
    speaker_embeddings: bool = False
    exclusive: bool = False
    report: bool = False
    cut: bool = False
    together: int = 1

    def __post_init__(self) -> None:
        find_formats(self.formats)
        if self.speaker_embeddings and "json" not in self.formats:
            raise InputError(
                "--embeddings needs --format json, the format that holds embeddings",
                hint="add json to --format, for example --format rttm,json",
            )


@dataclass(frozen=True, kw_only=True)
class DiarizedRecordings:
    """What `diarize_recordings` did.

    Attributes:
        files: a row for each recording: ``recording``, ``audio``, ``outputs`` (files by format),
            ``duration_s``, ``speech_s``, ``num_speakers``, ``num_turns``, ``channels``, ``seconds``,
            ``finished_before``.
        left_out: why recordings were skipped, by id.
        failures: why others could not be diarized.
    """

    files: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, InputError] = field(default_factory=dict)
    failures: list[InputError] = field(default_factory=list)

    @property
    def total(self) -> dict[str, float]:
        """Duration, time and real-time factor over the recordings diarized in this call."""
        files = [file for file in self.files if not file["finished_before"]]
        duration_s = sum(file["duration_s"] for file in files)
        seconds = sum(file["seconds"] for file in files)
        return {
            "duration_s": duration_s,
            "seconds": seconds,
            "real_time_factor": seconds / duration_s if duration_s else 0.0,
        }

    def raise_failures(self) -> None:
        """Raise one error for all failures, if there are any or nothing could be read."""
        num = len(self.files) + len(self.left_out) + len(self.failures)
        if self.failures:
            raise _together(self.failures, of=num, what="could not be diarized")
        if self.left_out and not self.files:
            raise _together(list(self.left_out.values()), of=num, what="cannot be read")


def diarize_recordings(
    diarizer: Diarizer,
    audio_of: Mapping[str, Path],
    out: Path,
    options: RecordingOptions = RecordingOptions(),
    *,
    made_with: Mapping[str, Any],
    origin: Mapping[str, Any] | None = None,
    naming: Naming | None = None,
    write_page: WritePage | None = None,
    speech_of: SpeechOf | None = None,
    bad: Mapping[str, InputError] | None = None,
    check_only: bool = False,
    on_progress: OnProgress = lambda _number, _name, _done_s, _total_s: None,
) -> DiarizedRecordings:
    """Diarize recordings and write the turns of each; one that fails does not stop the others.

    Recordings that are finished, with the same audio, settings and ``made_with``, are skipped; that they are
    is noted in ``OUT/.diarized``.

    Args:
        diarizer: with the model.
        audio_of: files by recording id (`sdpn.io.inputs.recordings`).
        out: folder for ``<name>.rttm`` and the files of other formats.
        options: the options.
        made_with: identifies the model, such as its `sdpn.extraction.settings.fingerprint`.
        origin: model, code and machine for the receipts of JSON documents (`sdpn.receipt.origin_of`); None
            writes none.
        naming: gives speakers the names of people (`sdpn.people.naming.SpeakerNaming`); None leaves
            ``speaker00``, ``speaker01``, ... What it depends on belongs into ``made_with`` and ``origin``.
        write_page: writes the pages of ``options.report``, such as
            `sdpn.report.recording_page.write_recording_page`.
        speech_of: speech in place of voice activity detection.
        bad: result of `check_headers`; None calls it.
        check_only: diarize nothing: all recordings must be finished, as after the shards of an array.
        on_progress: see `OnProgress`.

    Raises:
        InputError: before any work, if a file cannot be opened and ``options.skip_bad`` is not set; a file of
            turns cannot be written; recordings are not finished, with ``check_only``. Other failures are in
            the result.
    """
    done = DiarizedRecordings(left_out=check_headers(audio_of, options) if bad is None else dict(bad))
    finished = Finished(
        out,
        {
            **made_with,
            "config": repr(diarizer.config),
            "clusterer": repr(diarizer.clusterer),
            "counts": [options.num_speakers, options.min_speakers, options.max_speakers],
            "channel": options.channel,
            "keep_truncated": options.skip_bad,
            "speaker_embeddings": options.speaker_embeddings,
            "exclusive": options.exclusive,
        },
    )
    missing: list[str] = []
    todo: dict[int, _Work] = {}
    rows: dict[int, dict[str, Any]] = {}
    for number, (recording, audio) in enumerate(audio_of.items(), start=1):
        if recording in done.left_out:
            continue
        outputs = output_files(out, recording, audio, options)
        work = _Work(recording, audio, outputs, (speech_of or {}).get(recording))
        found = None if options.force or not _can_be_read_again(audio) else finished.find(*work)
        if found is not None:
            paths = {name: str(path) for name, path in outputs.items()}
            rows[number] = {**found, "audio": str(audio), "outputs": paths, "finished_before": True}
            continue
        if check_only:
            missing.append(recording)
            continue
        todo[number] = work
    if missing:
        raise InputError(
            f"{len(missing)} of {len(audio_of)} recordings are not diarized with this model and these "
            f"settings, the first is {missing[0]!r}",
            path=out,
            hint="run the shards that are not finished, with the same commands",
        )
    with closing(_embedding(diarizer, todo, options, on_progress)) as embedding:
        for number, work, embedded in embedding:
            try:
                rows[number] = _written(diarizer, work, embedded(), options, origin, naming, write_page)
            except _Unreadable as error:
                if options.skip_bad:
                    done.left_out[work.recording] = error
                else:
                    done.failures.append(error)
            except InputError as error:
                done.failures.append(error)
            else:
                if _can_be_read_again(work.audio):
                    finished.store(*work, rows[number])
    done.files.extend(rows[number] for number in sorted(rows))
    return done


def check_headers(audio_of: Mapping[str, Path], options: RecordingOptions) -> dict[str, InputError]:
    """Open all files before any is diarized.

    Returns:
        why files cannot be opened, by recording, where ``options.skip_bad`` leaves them out.

    Raises:
        InputError: a file cannot be opened.
    """
    channel = None if options.channel == "separate" else options.channel
    bad: dict[str, InputError] = {}
    for recording, path in audio_of.items():
        if path in _STDIN or (path.exists() and not path.is_file()):
            continue  # opening a pipe would consume it
        try:
            with open_audio(path, channel=channel, keep_truncated=options.skip_bad):
                pass
        except InputError as error:
            bad[recording] = error
    if bad and not options.skip_bad:
        raise _together(list(bad.values()), of=len(audio_of), what="cannot be read; nothing was diarized")
    return bad


def check_not_written(
    path: Path | None, audio_of: Mapping[str, Path], out: Path, options: RecordingOptions
) -> None:
    """Check that a file is none of those that `diarize_recordings` writes.

    Raises:
        InputError: it is.
    """
    if path is None:
        return
    for recording, audio in audio_of.items():
        for file in output_files(out, recording, audio, options).values():
            if os.path.realpath(file) == os.path.realpath(path):
                raise InputError(
                    f"is given for --json, and would hold the turns of {recording!r}",
                    path=path,
                    hint="choose another path for the results of the command",
                )


def read_speech(rttm: Path, recordings: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """The turns of recordings as speech, regardless of speaker.

    Raises:
        InputError: the file cannot be read, or lacks a recording.
    """
    turns_of = read_rttm(rttm)
    if problem := lacking(turns_of, recordings):
        raise InputError(
            problem,
            path=rttm,
            hint="--reference-speech must cover every recording; ids are file names without their suffix",
        )
    return {
        recording: [(turn.onset_s, turn.end_s) for turn in turns_of[recording]] for recording in recordings
    }


def _can_be_read_again(audio: Path) -> bool:
    """Whether it is a regular file, not a pipe."""
    return audio not in _STDIN and audio.is_file()


def output_files(out: Path, recording: str, audio: Path, options: RecordingOptions) -> dict[str, Path]:
    """The files of a recording, by format; their names may contain white space, recording ids may not.

    ``report`` is its page, ``cut`` the table of the folder with the audio.
    """
    stem = audio.stem if "_".join(audio.stem.split()) == recording else recording
    files = {name: out / f"{stem}{TURN_FORMATS[name].suffix}" for name in find_formats(options.formats)}
    if options.report:
        files["report"] = out / f"{stem}.html"
    if options.cut:
        files["cut"] = out / f"{stem}.cut" / INDEX
    return files


class _Work(NamedTuple):
    """One recording to diarize."""

    recording: str
    audio: Path
    outputs: Mapping[str, Path]
    speech: Sequence[tuple[float, float]] | None


class _Unreadable(InputError):
    """A recording that ``--skip-bad`` skips."""

    def __init__(self, reason: InputError) -> None:
        super().__init__(reason.message, path=reason.path, line=reason.line, hint=reason.hint)


def diarize_recording(
    diarizer: Diarizer,
    recording: str,
    audio: Path,
    options: RecordingOptions,
    *,
    speech: Sequence[tuple[float, float]] | None = None,
    origin: Mapping[str, Any] | None = None,
    naming: Naming | None = None,
    progress: Progress | None = None,
) -> tuple[WhoSpokeWhen, list[LabelledChannel]]:
    """Diarize one recording and gather what is to be written.

    Args:
        diarizer: with the model.
        recording: its id.
        audio: its file.
        options: the options.
        speech: start and end of speech, in place of voice activity detection.
        origin: as in `diarize_recordings`.
        naming: as in `diarize_recordings`.
        progress: see `sdpn.diarization.pipeline.Progress`.

    Raises:
        InputError: the recording cannot be read, or cannot satisfy the number of speakers.
    """
    embedded = _embed(diarizer, audio, options, speech, progress)
    return _gathered(diarizer, recording, audio, embedded, options, speech, origin, naming)


def _embed(
    diarizer: Diarizer,
    audio: Path,
    options: RecordingOptions,
    speech: Sequence[tuple[float, float]] | None,
    progress: Progress | None,
) -> list[EmbeddedRecording]:
    """The channels of a recording, before its speakers are found.

    Raises:
        _Unreadable: it cannot be read.
    """
    reading: dict[str, Any] = {
        "speech": speech,
        "keep_truncated": options.skip_bad,
        "progress": progress,
    }
    try:
        if options.channel == "separate":
            return diarizer.embed_channels(audio, **reading)
        return [diarizer.embed(audio, channel=options.channel, **reading)]
    except InputError as error:
        raise _Unreadable(error) from error


def _gathered(
    diarizer: Diarizer,
    recording: str,
    audio: Path,
    embedded: Sequence[EmbeddedRecording],
    options: RecordingOptions,
    speech: Sequence[tuple[float, float]] | None,
    origin: Mapping[str, Any] | None,
    naming: Naming | None,
) -> tuple[WhoSpokeWhen, list[LabelledChannel]]:
    """Find the speakers of a recording; see `diarize_recording`."""
    counts: dict[str, Any] = {
        "num_speakers": options.num_speakers,
        "min_speakers": 1 if options.min_speakers is None else options.min_speakers,
        "max_speakers": options.max_speakers,
    }
    labelled = diarizer.label_with_counts(embedded, **counts)
    channels = labelled_channels(recording, embedded, labelled, exclusive=options.exclusive)
    file = audio if _can_be_read_again(audio) else None
    named = None if naming is None else naming(channels, file)
    channels = channels if named is None else list(named.channels)
    spoken = who_spoke_when(recording, file, channels, with_embeddings=options.speaker_embeddings)
    if named is not None:
        spoken = spoken.with_more(of_speakers=named.of_speakers, details=named.details)
    if origin is None or "json" not in options.formats:
        return spoken, channels
    given = {
        "channel": options.channel,
        **counts,
        "skip_bad": options.skip_bad,
        "speaker_embeddings": options.speaker_embeddings,
        "exclusive": options.exclusive,
        "speech": None if speech is None else [list(span) for span in speech],
    }
    spoken = with_receipt(spoken, settings=pipeline_settings(diarizer), options=given, origin=origin)
    return spoken, channels


class _Embedded(NamedTuple):
    """A recording before its speakers are found, and how long that took."""

    channels: list[EmbeddedRecording]
    seconds: float


def _embedding(
    diarizer: Diarizer, todo: Mapping[int, _Work], options: RecordingOptions, on_progress: OnProgress
) -> Generator[tuple[int, _Work, Callable[[], _Embedded]], None, None]:
    """Yield each recording in turn, with the function that embeds it, or waits until a thread has done so."""

    def embed(by: Diarizer, number: int, work: _Work, report: OnProgress) -> _Embedded:
        started = time.perf_counter()
        progress = partial(report, number, work.recording)
        channels = _embed(by, work.audio, options, work.speech, progress)
        return _Embedded(channels, time.perf_counter() - started)

    if options.together == 1:
        for number, work in todo.items():
            yield number, work, partial(embed, diarizer, number, work, on_progress)
        return
    lock, stopped = Lock(), Event()

    def report(number: int, name: str, done_s: float, total_s: float | None) -> None:
        if stopped.is_set():
            raise CancelledError
        with lock:
            on_progress(number, name, done_s, total_s)

    waiting: deque[tuple[int, _Work, Callable[[], _Embedded]]] = deque()
    with (
        SharedBatches(diarizer.model) as model,
        ThreadPoolExecutor(
            options.together, "reader", initializer=getattr(diarizer.model, "of_each_thread", None)
        ) as pool,
    ):
        by = Diarizer(model, config=diarizer.config, segmentation=diarizer.segmentation)
        try:
            for number, work in todo.items():
                future = pool.submit(embed, by, number, work, report)
                waiting.append((number, work, future.result))
                if len(waiting) > options.together:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def _written(
    diarizer: Diarizer,
    work: _Work,
    embedded: _Embedded,
    options: RecordingOptions,
    origin: Mapping[str, Any] | None,
    naming: Naming | None,
    write_page: WritePage | None,
) -> dict[str, Any]:
    """Find the speakers of a recording and write what is asked for; its row in the results."""
    started = time.perf_counter()
    spoken, channels = _gathered(
        diarizer, work.recording, work.audio, embedded.channels, options, work.speech, origin, naming
    )
    for channel in channels:
        forecast = channel.labelled.forecast
        if forecast is not None and forecast.warning is not None:
            _log.warning("%s %s", work.audio, forecast.warning)
        if channel.labelled.unheard:
            warning = unheard_warning(channel.labelled.unheard, len(channel.speakers))
            _log.warning("%s: %s", work.audio, warning)
    write_turns(spoken, {name: path for name, path in work.outputs.items() if name in TURN_FORMATS})
    if options.cut:
        cut_audio(work.outputs["cut"].parent, spoken)
    if options.report:
        if write_page is None:
            raise ValueError("options.report needs write_page")
        write_page(work.outputs["report"], spoken, channels)
    each: list[dict[str, Any]] = [
        {
            "channel": channel_name(channel.embedded),
            "speech_s": sum(segment.duration_s for segment in channel.embedded.speech),
            "speakers": channel.speakers,
            "num_turns": len(channel.turns),
            "count_posterior": channel.labelled.count_posterior,
            "unheard": channel.labelled.unheard,
        }
        for channel in channels
    ]
    return {
        "recording": work.recording,
        "audio": str(work.audio),
        "outputs": {name: str(path) for name, path in work.outputs.items()},
        "duration_s": spoken.duration_s,
        "speech_s": sum(one["speech_s"] for one in each),
        "num_speakers": sum(len(one["speakers"]) for one in each),
        "num_turns": sum(one["num_turns"] for one in each),
        "channels": each,
        "seconds": embedded.seconds + time.perf_counter() - started,
        "finished_before": False,
    }


def _together(failures: Sequence[InputError], *, of: int, what: str) -> InputError:
    """One error for several failures; a single failure of a single recording is passed on as it is."""
    if of == 1:
        return failures[0]
    reasons = "; ".join(str(failure) for failure in failures)
    return InputError(f"{len(failures)} of {of} recordings {what}: {reasons}")
