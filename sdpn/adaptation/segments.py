"""Speech segments of mostly one speaker from recordings, as a Kaldi data directory with ``segments``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sdpn.diarization.vad import VadConfig, detect_speech
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.inputs import recordings as named_recordings
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """Selection of the training segments of a recording.

    Attributes:
        vad: settings of voice activity detection. Unlike diarization, which must not miss speech, this
            favours segments of one speaker, which end at shorter silences.
        shortest_s: minimum segment length; shorter ones are not used.
        longest_s: maximum segment length; longer ones, which are likely to contain speaker changes, are
            divided evenly.
    """

    vad: VadConfig = field(default_factory=lambda: VadConfig(threshold=0.5, min_silence_s=0.25, pad_s=0.05))
    shortest_s: float = 1.0
    longest_s: float = 6.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.shortest_s <= self.longest_s:
            raise ValueError("0 < shortest_s <= longest_s is needed")


def find_recordings(data: Path | None, files: Sequence[Path]) -> list[Utterance]:
    """The recordings to adapt to.

    Args:
        data: Kaldi data directory (its ``segments``, if any, are the speech), or a folder of recordings.
        files: further recordings, and folders of them.

    Returns:
        whole recordings, or the segments of a data directory; speakers are dropped.

    Raises:
        InputError: nothing was given, a path does not exist, a folder contains no audio, or two recordings
            share an id.
    """
    found: list[Utterance] = []
    if data is not None and (data / "wav.scp").is_file():
        found += [replace(utterance, speaker=None) for utterance in read_data_dir(data)]
    elif data is not None:
        if not data.is_dir():
            raise InputError("no such folder", path=data)
        files = [data, *files]
    for path in files:
        if not path.exists():
            raise InputError("no such audio file or folder", path=path)
    found += [Utterance(name, path) for name, path in named_recordings(files).items()]
    if not found:
        raise InputError("no recordings to adapt to", hint="give --data DIR, or files and folders")
    first: dict[str, Path] = {}
    for utterance in found:
        if utterance.id in first:
            raise InputError(
                f"has the same id {utterance.id!r} as {first[utterance.id]}",
                path=utterance.path,
                hint="rename one",
            )
        first[utterance.id] = utterance.path
    return found


def find_segments(
    recordings: Iterable[Utterance], config: SegmentConfig, *, notes: Path | None = None
) -> Iterator[list[Utterance]]:
    """The speech segments of each recording in turn; an empty list if it has no speech or cannot be read.

    Segments of a data directory are taken as speech. A file that cannot be read only causes a warning.

    Args:
        recordings: whole ones, or segments.
        config: selection of segments.
        notes: file that keeps the results, a JSON line per recording; recordings in it are not processed
            again.

    Raises:
        InputError: the notes cannot be written.
    """
    known = {} if notes is None else _read_notes(notes)
    for recording in recordings:
        if recording.id in known:
            spans = known[recording.id]
        else:
            try:
                if recording.end_s is not None:
                    spans = [(recording.start_s, recording.end_s)]
                elif recording.start_s:  # a segment up to the end of its file
                    spans = [(recording.start_s, recording.file_duration_s())]
                else:
                    spans = list(detect_speech(recording.read(), config.vad))
                    if notes is not None:
                        _note(notes, recording.id, spans)
            except InputError as error:
                _log.warning("left out: %s", error)
                spans = []
        yield [
            replace(recording, id=f"{recording.id}-{round(1000 * start_s):08d}", start_s=start_s, end_s=end_s)
            for whole in spans
            for start_s, end_s in _divide(*whole, config.longest_s)
            if end_s - start_s >= config.shortest_s
        ]


def _read_notes(notes: Path) -> dict[str, list[tuple[float, float]]]:
    """Read the results of an earlier call, without a truncated last line."""
    known: dict[str, list[tuple[float, float]]] = {}
    if not notes.is_file():
        return known
    for line in notes.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            name, spans = json.loads(line)
            known[str(name)] = [(float(start_s), float(end_s)) for start_s, end_s in spans]
        except (ValueError, TypeError, RecursionError):
            continue
    return known


def _note(notes: Path, name: str, spans: Sequence[tuple[float, float]]) -> None:
    try:
        with open(notes, "a", encoding="utf-8") as stream:
            # start with a line end: the previous line may be truncated
            stream.write("\n" + json.dumps([name, spans]) + "\n")
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", path=notes) from error


def write_segments(directory: Path, segments: Sequence[Utterance]) -> None:
    """Write utterances as a Kaldi data directory, with ``segments`` where they are parts of files.

    Raises:
        InputError: there are none, or an id or path cannot be written in a table.
    """
    if all(segment.end_s is None for segment in segments):
        write_data_dir(directory, segments)
        return
    names: dict[Path, str] = {}
    for segment in segments:
        names.setdefault(segment.path, f"recording{len(names):06d}")
    write_data_dir(directory, [Utterance(name, path) for path, name in names.items()])
    lines = [
        f"{segment.id} {names[segment.path]} {segment.start_s:.3f} {segment.end_s:.3f}"
        + ("\n" if segment.channel is None else f" {segment.channel}\n")
        for segment in sorted(segments, key=lambda segment: segment.id.encode())
    ]
    atomic_write_text(directory / "segments", "".join(lines))


def _divide(start_s: float, end_s: float, longest_s: float) -> list[tuple[float, float]]:
    """Equal parts of a span, none longer than ``longest_s``."""
    num = max(1, int(-(-(end_s - start_s) // longest_s)))
    step = (end_s - start_s) / num
    return [(start_s + part * step, start_s + (part + 1) * step) for part in range(num)]
