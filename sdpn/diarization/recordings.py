"""Many recordings to RTTM files, resumed where it was interrupted: what ``sdpn diarize`` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sdpn.diarization.finished import Finished
from sdpn.diarization.pipeline import Diarizer, Progress
from sdpn.errors import InputError
from sdpn.io.audio import open_audio
from sdpn.io.inputs import STDIN
from sdpn.io.rttm import from_annotation, read_rttm, write_rttm

#: Standard input, which may be a file and still is read once.
_STDIN = (STDIN, Path("/dev/stdin"))

#: Start and end of speech in seconds, by recording.
SpeechOf = Mapping[str, Sequence[tuple[float, float]]]

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
        exclusive: write one speaker at a time, also with a segmentation network.
    """

    channel: int | Literal["separate"] | None = None
    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    skip_bad: bool = False
    force: bool = False
    exclusive: bool = False


@dataclass(frozen=True, kw_only=True)
class DiarizedRecordings:
    """What `diarize_recordings` did.

    Attributes:
        files: a row for each recording: ``recording``, ``audio``, ``rttm``, ``duration_s``, ``speech_s``,
            ``num_speakers``, ``num_turns``, ``channels``, ``seconds``, ``finished_before``.
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
    speech_of: SpeechOf | None = None,
    bad: Mapping[str, InputError] | None = None,
    on_progress: OnProgress = lambda _number, _name, _done_s, _total_s: None,
) -> DiarizedRecordings:
    """Diarize recordings and write an RTTM file for each; one that fails does not stop the others.

    Recordings that are finished, with the same audio, settings and ``made_with``, are skipped; that they are
    is noted in ``OUT/.diarized``.

    Args:
        diarizer: with the model.
        audio_of: files by recording id (`sdpn.io.inputs.recordings`).
        out: folder for ``<name>.rttm``.
        options: the options.
        made_with: identifies the model, such as its `sdpn.extraction.settings.fingerprint`.
        speech_of: speech in place of voice activity detection.
        bad: result of `check_headers`; None calls it.
        on_progress: see `OnProgress`.

    Raises:
        InputError: before any work, if a file cannot be opened and ``options.skip_bad`` is not set; an RTTM
            file cannot be written. Other failures are in the result.
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
            "exclusive": options.exclusive,
        },
    )
    for number, (recording, audio) in enumerate(audio_of.items(), start=1):
        if recording in done.left_out:
            continue
        work = _Work(recording, audio, _rttm(out, recording, audio), (speech_of or {}).get(recording))
        found = None if options.force or not _can_be_read_again(audio) else finished.find(*work)
        if found is not None:
            done.files.append({**found, "audio": str(audio), "rttm": str(work.rttm), "finished_before": True})
            continue
        try:
            done.files.append(_diarize(diarizer, work, options, partial(on_progress, number, recording)))
        except _Unreadable as error:
            if options.skip_bad:
                done.left_out[recording] = error.reason
            else:
                done.failures.append(error.reason)
        except InputError as error:
            done.failures.append(error)
        else:
            if _can_be_read_again(audio):
                finished.store(*work, done.files[-1])
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


def read_speech(rttm: Path, recordings: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """The turns of recordings as speech, regardless of speaker.

    Raises:
        InputError: the file cannot be read, or lacks a recording.
    """
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


def _can_be_read_again(audio: Path) -> bool:
    """Whether it is a regular file, not a pipe."""
    return audio not in _STDIN and audio.is_file()


def _rttm(out: Path, recording: str, audio: Path) -> Path:
    """File names may contain white space, recording ids may not."""
    return out / f"{audio.stem if '_'.join(audio.stem.split()) == recording else recording}.rttm"


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


def _diarize(
    diarizer: Diarizer, work: _Work, options: RecordingOptions, progress: Progress
) -> dict[str, Any]:
    started = time.perf_counter()
    reading: dict[str, Any] = {
        "speech": work.speech,
        "keep_truncated": options.skip_bad,
        "progress": progress,
    }
    try:
        if options.channel == "separate":
            channels = diarizer.embed_channels(work.audio, **reading)
        else:
            channels = [diarizer.embed(work.audio, channel=options.channel, **reading)]
    except InputError as error:
        raise _Unreadable(error) from error
    labelled = diarizer.label_with_counts(
        channels,
        num_speakers=options.num_speakers,
        min_speakers=1 if options.min_speakers is None else options.min_speakers,
        max_speakers=options.max_speakers,
    )
    turns_of = [
        from_annotation(
            found.exclusive if options.exclusive else found.annotation,
            work.recording,
            channel=1 + (embedded.channel or 0),
        )
        for embedded, found in zip(channels, labelled, strict=True)
    ]
    write_rttm(work.rttm, work.recording, [turn for turns in turns_of for turn in turns])
    each = [
        {
            "channel": "mix" if embedded.channel is None else embedded.channel,
            "speech_s": sum(segment.duration_s for segment in embedded.speech),
            "speakers": found.annotation.labels(),
            "num_turns": len(turns),
            "count_posterior": found.count_posterior,
        }
        for embedded, found, turns in zip(channels, labelled, turns_of, strict=True)
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


def _together(failures: Sequence[InputError], *, of: int, what: str) -> InputError:
    """One error for several failures; a single failure of a single recording is passed on as it is."""
    if of == 1:
        return failures[0]
    reasons = "; ".join(str(failure) for failure in failures)
    return InputError(f"{len(failures)} of {of} recordings {what}: {reasons}")
