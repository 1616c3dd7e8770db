"""One job: an upload to files of results, by the functions behind ``sdpn diarize``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.diarization.recordings import RecordingOptions, diarize_recording
from sdpn.errors import InputError
from sdpn.formats.registry import find_formats, write_turns
from sdpn.io.atomic import atomic_directory
from sdpn.report.recording_page import write_recording_page
from sdpn.service.folder import RESULT_FILES
from sdpn.service.jobs import Job, JobOptions
from sdpn.service.names import recording_id

if TYPE_CHECKING:
    from sdpn.diarization.pipeline import Diarizer, Progress


def recording_options(options: JobOptions) -> RecordingOptions:
    """The options of ``sdpn diarize``.

    Raises:
        InputError: a format is unknown, or embeddings have no format that holds them.
    """
    return RecordingOptions(
        channel=options.channel,
        num_speakers=options.num_speakers,
        min_speakers=options.min_speakers,
        max_speakers=options.max_speakers,
        formats=options.formats,
        speaker_embeddings=options.speaker_embeddings,
        report=options.report,
    )


def diarize_job(
    diarizer: Diarizer,
    job: Job,
    upload: Path,
    out: Path,
    *,
    origin: Mapping[str, Any],
    most_s: float,
    progress: Progress,
) -> dict[str, Any]:
    """Diarize an upload, and write its results: all of them, or none.

    Args:
        diarizer: with the model.
        job: the job.
        upload: its file, whose name appears nowhere.
        out: folder for the results, with the names in `sdpn.service.folder.RESULT_FILES`.
        origin: for the receipt (`sdpn.receipt.origin_of`).
        most_s: length of the longest recording in seconds, as the decoder finds it.
        progress: called with the seconds of audio processed and in total.

    Returns:
        ``duration_s``, ``num_speakers``, ``num_turns`` and ``seconds``.

    Raises:
        InputError: it is not readable audio, too long, or cannot satisfy the number of speakers.
    """
    started = time.perf_counter()
    options = recording_options(job.options)
    name = recording_id(job.name)
    spoken, channels = diarize_recording(
        diarizer, name, upload, options, origin=origin, progress=_limited(progress, most_s)
    )
    with atomic_directory(out) as folder:
        if options.report:
            write_recording_page(folder / RESULT_FILES["report"], spoken, channels)
        shown = replace(spoken, audio=Path(job.name))
        write_turns(shown, {kind: folder / RESULT_FILES[kind] for kind in find_formats(options.formats)})
    return {
        "duration_s": round(spoken.duration_s, 3),
        "num_speakers": len(spoken.speakers),
        "num_turns": len(spoken.turns),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _limited(progress: Progress, most_s: float) -> Callable[[float, float | None], None]:
    def limited(done_s: float, total_s: float | None) -> None:
        longest_s = max(done_s, total_s or 0.0)
        if longest_s > most_s:
            raise InputError(
                f"is too long: at least {longest_s / 60:.1f} min, and at most {most_s / 60:g} are accepted"
            )
        progress(done_s, total_s)

    return limited
