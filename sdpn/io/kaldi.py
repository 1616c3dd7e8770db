"""Kaldi tables: data directories and vectors in ark/scp.

A data directory holds ``wav.scp`` (``id path``), optionally ``segments`` (``utt rec start end [channel]``,
in seconds; an end of -1 is that of the recording) and ``utt2spk`` (``utt spk``). Paths may hold spaces and
may be relative to the table; ``x.ark:5`` is audio inside an archive, at byte 5 (`sdpn.io.stored`). With
a ``pack.json`` it is packed speech (`sdpn.io.shards`). Cuts of lhotse count as a data directory
(`sdpn.io.lhotse_cuts`).
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.ark import iterate_ark, open_ark, vector_at
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.lhotse_cuts import cut_blocks, is_cuts
from sdpn.io.packed_text import DistinctKeys
from sdpn.io.shards import MANIFEST, check_shards
from sdpn.io.table_rows import distinct_blocks, distinct_row_blocks, row_blocks
from sdpn.io.text import is_line, numbered_lines, require_id

#: What `Path` changes in a path.
_CHANGED_BY_PATH = re.compile(r"//|(?:/|^|\n)\.(?:/|\n|$)|/(?:\n|$)")


@dataclass(frozen=True)
class Utterance:
    """A segment of speech in an audio file.

    Attributes:
        id: utterance id, unique in its data directory.
        path: the audio file.
        start_s: start in the file, in seconds.
        end_s: end in the file, in seconds; None for the end of the file.
        speaker: speaker id from ``utt2spk``, or None. Training never uses it.
        channel: its channel in the file, counted from 0; None leaves the choice to the reader.
        keep_truncated: read a truncated file as far as it goes, with a warning.
    """

    id: str
    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    speaker: str | None = None
    channel: int | None = None
    keep_truncated: bool = False

    def read(self, *, channel: audio.Channel = None) -> np.ndarray:
        """Read its samples (S,), float32, 16 kHz mono.

        Args:
            channel: channel to read if the utterance does not specify one; None averages all.

        Raises:
            InputError: the file cannot be read, or ends before the utterance starts.
        """
        with self._opened(channel) as stream:
            wave = stream.read(self.start_s, self._duration_s)
        if not len(wave):
            raise self._is_outside()
        return wave

    def read_range(self, first: int, count: int, *, channel: audio.Channel = None) -> np.ndarray:
        """Read ``count`` of its samples from ``first`` on, without the rest: (count,) float32, 16 kHz mono.

        Args:
            first: the first sample.
            count: how many.
            channel: as for `read`.

        Raises:
            InputError: the file cannot be read.
        """
        with self._opened(channel) as stream:
            return stream.read_range(first, count, self.start_s, self._duration_s)

    def num_samples(self) -> int:
        """Its length at 16 kHz, from the file's header where it gives the length.

        Raises:
            InputError: the file cannot be read, or ends before the utterance starts.
        """
        with self._opened() as stream:
            count = stream.num_samples(self.start_s, self._duration_s)
        if not count:
            raise self._is_outside()
        return count

    def file_duration_s(self) -> float:
        """Length of its file in seconds.

        Raises:
            InputError: the file cannot be read.
        """
        with self._opened() as stream:
            return stream.num_frames() / stream.source_rate_hz

    def _opened(self, channel: audio.Channel = None) -> audio.AudioStream:
        return audio.open_audio(
            self.path,
            channel=channel if self.channel is None else self.channel,
            keep_truncated=self.keep_truncated,
        )

    @property
    def _duration_s(self) -> float | None:
        return None if self.end_s is None else self.end_s - self.start_s

    def _is_outside(self) -> InputError:
        return InputError(f"utterance {self.id!r} starts after the end of the file", path=self.path)


class RecordingSegment(NamedTuple):
    """A line of ``segments``: a time range of a recording, in seconds.

    Attributes:
        id: of the utterance.
        recording: recording that contains it.
        start_s: its start.
        end_s: its end; None (-1 in the file) for the end of the recording.
        channel: of the recording, counted from 0; None if not given.
    """

    id: str
    recording: str
    start_s: float
    end_s: float | None
    channel: int | None = None


def read_table(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read ``key value`` lines, split at the first white space only; order is kept.

    Raises:
        InputError: the file is missing, a line has no value, or a key occurs twice.
    """
    table: dict[str, str] = {}
    for block in distinct_row_blocks(path):
        table.update(zip(block.keys, block.values, strict=True))
    return table


def read_utt2spk(directory: Path) -> dict[str, str]:
    """Utterance -> speaker of a data directory; empty if it names none.

    Raises:
        InputError: ``utt2spk`` is malformed.
    """
    if is_cuts(directory):
        blocks = cut_blocks(directory, check_files=False)
        return {cut.id: cut.speaker for block in blocks for cut in block if cut.speaker is not None}
    return read_table(directory / "utt2spk") if (directory / "utt2spk").is_file() else {}


def read_data_dir(directory: str | os.PathLike[str], *, check_files: bool = True) -> list[Utterance]:
    """Read and validate a Kaldi data directory.

    Args:
        directory: folder with ``wav.scp`` and optionally ``segments`` and ``utt2spk``, or a file of cuts.
        check_files: also require that every audio file exists.

    Returns:
        utterances in the order of ``segments``, or else of ``wav.scp``.

    Raises:
        InputError: a table is missing, empty or malformed, names an unknown recording or
            utterance, or names a file that does not exist.
    """
    return list(iterate_data_dir(directory, check_files=check_files))


def iterate_data_dir(
    directory: str | os.PathLike[str], *, check_files: bool = True, speakers: bool = True
) -> Iterator[Utterance]:
    """Yield what `read_data_dir` returns, one utterance at a time: a million need not be in memory.

    Args:
        directory: as there.
        check_files: as there.
        speakers: give utterances their speakers, all of which are then held; ``utt2spk`` is checked anyway,
            without them after the last utterance.

    Raises:
        InputError: as there, when that part of the data is reached.
    """
    directory = Path(directory)
    for block in iterate_columns(directory, check_files=check_files, speakers=speakers):
        latest, path = "", Path()
        for key, name, start_s, end_s, speaker, channel in zip(*block, strict=True):
            if name != latest:
                latest, path = name, Path(name)
            yield Utterance(key, path, start_s, end_s, speaker, channel)


class UtteranceColumns(NamedTuple):
    """Some utterances of a data directory, a column for each attribute of `Utterance`; a path is text."""

    ids: Sequence[str]
    paths: Sequence[str]
    starts_s: Sequence[float]
    ends_s: Sequence[float | None]
    speakers: Sequence[str | None]
    channels: Sequence[int | None]


def iterate_columns(
    directory: Path, *, check_files: bool = True, speakers: bool = True
) -> Iterator[UtteranceColumns]:
    """Yield what `iterate_data_dir` yields in blocks, none of which is empty: a million take seconds.

    Raises:
        InputError: as there.
    """
    if is_cuts(directory):
        for cuts in cut_blocks(directory, check_files=check_files, speakers=speakers):
            yield UtteranceColumns(*zip(*cuts, strict=True))
        return
    scp = directory / "wav.scp"
    if check_files and (directory / MANIFEST).is_file():
        check_shards(directory)
    if not scp.is_file():
        raise InputError(
            "is not a Kaldi data directory: it has no wav.scp",
            path=directory,
            hint="expected wav.scp with 'id path' lines"
            + ("; 'sdpn pack --index' makes one of tar shards" if any(directory.glob("*.tar")) else ""),
        )
    segments, utt2spk = directory / "segments", directory / "utt2spk"
    speaker_of = read_utt2spk(directory) if speakers else {}
    known = DistinctKeys()
    empty = True
    if segments.is_file():
        path_of: dict[str, str] = {}
        for keys, paths in _recordings(scp, DistinctKeys(), check_files=check_files):
            path_of.update(zip(keys, paths, strict=True))
        for found in _segments(segments, known):
            empty = False
            yield _of_segments(found, path_of, speaker_of, segments)
    else:
        for keys, paths in _recordings(scp, known, check_files=check_files):
            empty = False
            none = [None] * len(keys)
            yield UtteranceColumns(
                keys, paths, [0.0] * len(keys), none, list(map(speaker_of.get, keys)), none
            )
    if empty:
        raise InputError("contains no utterances", path=segments if segments.is_file() else scp)
    if utt2spk.is_file():
        of_table = (block.keys for block in distinct_row_blocks(utt2spk))
        _check_known([list(speaker_of)] if speaker_of else of_table, known, utt2spk)


def _check_known(blocks: Iterable[Sequence[str]], known: DistinctKeys, path: Path) -> None:
    unknown: list[str] = []
    for keys in blocks:
        held_N = known.holds(keys)
        if not held_N.all():
            unknown += [key for key, held in zip(keys, held_N.tolist(), strict=True) if not held]
    if unknown:
        raise InputError(
            f"utterance {min(unknown)!r} is not in wav.scp or segments ({len(unknown)} such)", path=path
        )


def refuse_shared_ids(ids: Sequence[str], directories: Sequence[Path], sizes: Sequence[int]) -> None:
    """Refuse an utterance id that occurs in two data directories.

    Args:
        ids: of all directories, one directory after the other.
        directories: the directories.
        sizes: utterances of each.

    Raises:
        InputError: an id occurs in two directories.
    """
    known = DistinctKeys()
    for directory, (first, last) in zip(directories, pairwise(accumulate(sizes, initial=0)), strict=True):
        again = known.add(ids[first:last])
        if again is not None:
            raise InputError(
                f"utterance {ids[first + again]!r} is also in another --data directory",
                path=directory,
                hint="make ids unique, for example with the corpus as prefix",
            )


def write_data_dir(directory: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write whole-file utterances as ``wav.scp`` (and ``utt2spk``, ``spk2utt``), in C-locale order.

    Relative paths are resolved against the working directory and written as absolute ones.

    Raises:
        InputError: two utterances share an id, an id contains white space, a path cannot be written in a
            table, or there are no utterances.
    """
    directory = Path(directory)
    rows: dict[str, Utterance] = {}
    for utterance in utterances:
        require_id(utterance.id, "utterance", path=utterance.path)
        if utterance.speaker is not None:
            require_id(utterance.speaker, "speaker", path=utterance.path)
        if utterance.id in rows:
            raise InputError(
                f"utterance id {utterance.id!r} occurs twice, also for {rows[utterance.id].path}",
                path=utterance.path,
            )
        if utterance.start_s or utterance.end_s is not None:
            raise ValueError("write_data_dir only writes utterances that are whole files")
        rows[utterance.id] = utterance
    if not rows:
        raise InputError("no utterances to write", path=directory)
    keys = sorted(rows, key=str.encode)
    atomic_write_text(
        directory / "wav.scp", "".join(f"{key} {_table_path(rows[key].path)}\n" for key in keys)
    )
    spoken = {key: speaker for key in keys if (speaker := rows[key].speaker) is not None}
    if spoken:
        atomic_write_text(
            directory / "utt2spk", "".join(f"{key} {speaker}\n" for key, speaker in spoken.items())
        )
        atomic_write_text(directory / "spk2utt", spk2utt(spoken))


def spk2utt(speaker_of: Mapping[str, str]) -> str:
    """The lines of ``spk2utt``, ``speaker utterance utterance ...``, in C-locale order.

    Args:
        speaker_of: the speaker of each utterance, in C-locale order of the utterances.
    """
    by_speaker: dict[str, list[str]] = {}
    for key, speaker in speaker_of.items():
        by_speaker.setdefault(speaker, []).append(key)
    return "".join(
        f"{speaker} {' '.join(by_speaker[speaker])}\n" for speaker in sorted(by_speaker, key=str.encode)
    )


class VectorWriter(Protocol):
    """Writes one vector under one key."""

    def __call__(self, key: str, vector: np.ndarray) -> None: ...


@contextmanager
def vector_writer(directory: str | os.PathLike[str], name: str = "embeddings") -> Iterator[VectorWriter]:
    """Write float32 vectors to ``directory/name.ark`` and ``.scp``; both appear only when all is written.

    The scp holds the ark's absolute path, as Kaldi's tools expect.

    Raises:
        InputError: a key contains white space or is written twice.
    """
    from kaldiio import save_ark

    directory = Path(directory).resolve()
    ark, scp = directory / f"{name}.ark", directory / f"{name}.scp"
    lines: dict[str, str] = {}
    with atomic_path(ark) as temporary:
        with open(temporary, "wb") as stream:

            def write(key: str, vector: np.ndarray) -> None:
                require_id(key, "utterance", path=ark)
                if key in lines:
                    raise InputError(f"utterance {key!r} occurs a second time", path=ark)
                # kaldiio puts the key and a space before the value, where the scp must point to
                offset = stream.tell() + len(key.encode()) + 1
                save_ark(stream, {key: np.asarray(vector, dtype=np.float32)})
                lines[key] = f"{key} {ark}:{offset}\n"

            yield write
    atomic_write_text(scp, "".join(lines.values()))


def read_vectors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read all vectors of a Kaldi ``.scp`` or ``.ark``, binary or text.

    Paths in an scp may be relative to it. Commands (``... |``) and kaldiio's pickles are rejected.

    Returns:
        float32 vectors (D,) by key, in file order.

    Raises:
        InputError: the file is missing, is not a table of vectors, or its vectors differ in length.
    """
    path = Path(path)
    vectors = dict(iterate_vectors(path))
    _check_vectors(vectors, path)
    return vectors


def iterate_vectors(
    path: str | os.PathLike[str], *, check_keys: bool = True
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (key, float32 vector (D,)) of a Kaldi ``.scp`` or ``.ark`` in file order, one at a time.

    As `read_vectors`, for files that do not fit in memory; lengths and values are not checked.

    Args:
        path: the file.
        check_keys: refuse a key that occurs twice, which takes 16 bytes of memory for each.

    Raises:
        InputError: the file is missing or is not a table of vectors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such scp or ark file", path=path)
    iterate = _iterate_ark if path.suffix == ".ark" else _iterate_scp
    yield from iterate(path, check_keys=check_keys)


def _iterate_ark(path: Path, *, check_keys: bool) -> Iterator[tuple[str, np.ndarray]]:
    def entries() -> Iterator[tuple[str, np.ndarray]]:
        try:
            yield from iterate_ark(open_ark(path))
        except (OSError, ValueError) as error:
            raise InputError(f"is not a Kaldi ark of vectors ({error})", path=path) from error

    def again(entry: tuple[str, np.ndarray]) -> InputError:
        return InputError(f"{entry[0]!r} occurs a second time", path=path)

    if not check_keys:
        return entries()
    return chain.from_iterable(distinct_blocks(entries(), lambda entry: entry[0], again))


def _iterate_scp(path: Path, *, check_keys: bool) -> Iterator[tuple[str, np.ndarray]]:
    arks: dict[str, mmap.mmap | bytes] = {}
    blocks = distinct_row_blocks(path) if check_keys else row_blocks(path)
    for number, key, where in chain.from_iterable(block.rows() for block in blocks):
        if where.endswith("|") or where.startswith("|"):
            raise _refused_command(f"the vector of {key!r}", path, number)
        name, colon, offset = where.rpartition(":")
        if not (colon and offset.isdecimal()):
            name, offset = where, "0"
        try:
            if name not in arks:
                arks[name] = open_ark(path.parent / name)
            vector, _ = vector_at(arks[name], int(offset))
        except (OSError, ValueError) as error:
            raise InputError(
                f"the vector of {key!r} cannot be read from {where!r} ({error})", path=path, line=number
            ) from error
        yield key, vector


def _check_vectors(vectors: Mapping[str, np.ndarray], path: Path) -> None:
    if not vectors:
        raise InputError("contains no vectors", path=path)
    first_key, first = next(iter(vectors.items()))
    for key, vector in vectors.items():
        if vector.ndim != 1:
            raise InputError(f"expected a vector for {key!r}, found shape {vector.shape}", path=path)
        if vector.shape != first.shape:
            raise InputError(
                f"{key!r} has {len(vector)} dimensions, {first_key!r} has {len(first)}", path=path
            )
        if not np.isfinite(vector).all():
            raise InputError(f"the vector of {key!r} contains NaN or infinite values", path=path)


def _recordings(
    path: Path, known: DistinctKeys, *, check_files: bool
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Yield ids and files of a wav.scp, block by block."""
    there = _Presence()
    for block in distinct_row_blocks(path, known):
        paths = _below(path.parent, block.values)
        is_command = any(value[0] == "|" or value[-1] == "|" for value in block.values)
        if is_command or (check_files and not all(map(there, paths))):
            for number, key, value in block.rows():  # names the first
                check_recording(key, value, path=path, line=number, check_file=check_files)
        yield block.keys, paths


def _below(folder: Path, names: Sequence[str]) -> Sequence[str]:
    """Paths that may be relative to a folder, as `Path` writes them."""
    if os.name != "posix" or _CHANGED_BY_PATH.search("\n".join(names)):
        return [str(folder / name) for name in names]
    prefix = str(folder / "x")[:-1]
    return [name if name[0] == "/" else prefix + name for name in names]


class _Presence:
    """Whether there is audio at a path, as `audio.is_file`; an archive is looked for once."""

    def __init__(self) -> None:
        self._archives: set[str] = set()

    def __call__(self, path: str) -> bool:
        archive, _, offset = path.rpartition(":")
        if offset.isdecimal() and archive in self._archives:
            return True
        if not audio.is_file(path):
            return False
        if not os.path.isfile(path):
            self._archives.add(archive)
        return True


def check_recording(key: str, value: str, *, path: Path, line: int, check_file: bool) -> None:
    """Check a row of ``wav.scp``.

    Args:
        key: the recording.
        value: its file, maybe relative to the table.
        path: the table.
        line: the number of the row.
        check_file: also require that the file exists.

    Raises:
        InputError: the value is a shell command, or the file does not exist.
    """
    if value.endswith("|") or value.startswith("|"):
        raise _refused_command(f"recording {key!r}", path, line)
    if check_file and not audio.is_file(path.parent / value):
        raise InputError(
            f"recording {key!r}: no such audio file: {path.parent / value}", path=path, line=line
        )


def _refused_command(what: str, path: Path, line: int) -> InputError:
    return InputError(
        f"{what} is a shell command, which sdpn does not run",
        path=path,
        line=line,
        hint="write its output to a file and refer to that file",
    )


def _table_path(path: Path) -> str:
    """Absolute path as text, unless ``id path`` lines cannot carry it (a line end; ``|`` or a blank last)."""
    name = os.path.abspath(path)
    if not is_line(name) or name != name.strip() or name.endswith("|"):
        raise InputError(f"{name!r} cannot be written in a Kaldi table", hint="rename the file")
    return name


def read_segments(path: str | os.PathLike[str]) -> list[RecordingSegment]:
    """Read a ``segments`` file, ``utterance recording start end [channel]``, in file order.

    Raises:
        InputError: the file is missing or empty, a line is malformed, or an utterance occurs twice.
    """
    segments = [segment for block in _segments(path, DistinctKeys()) for _, segment in block]
    if not segments:
        raise InputError("contains no segments", path=path)
    return segments


def _of_segments(
    found: Sequence[tuple[int, RecordingSegment]],
    path_of: Mapping[str, str],
    speaker_of: Mapping[str, str],
    path: Path,
) -> UtteranceColumns:
    """Segments as utterances.

    Raises:
        InputError: a recording is not known.
    """
    ids, recordings, starts_s, ends_s, channels = zip(*(segment for _, segment in found), strict=True)
    try:
        paths = [path_of[recording] for recording in recordings]
    except KeyError:
        number, recording = next(
            (number, segment.recording) for number, segment in found if segment.recording not in path_of
        )
        raise InputError(f"recording {recording!r} is not in wav.scp", path=path, line=number) from None
    return UtteranceColumns(ids, paths, starts_s, ends_s, list(map(speaker_of.get, ids)), channels)


def _segments(
    path: str | os.PathLike[str], known: DistinctKeys
) -> Iterator[list[tuple[int, RecordingSegment]]]:
    """Yield (line number, segment) in blocks, refusing repeated utterances."""

    def again(row: tuple[int, RecordingSegment]) -> InputError:
        return InputError(f"utterance {row[1].id!r} occurs a second time", path=path, line=row[0])

    return distinct_blocks(_parsed_segments(path), lambda row: row[1].id, again, known)


def _parsed_segments(path: str | os.PathLike[str]) -> Iterator[tuple[int, RecordingSegment]]:
    for number, line in numbered_lines(path):
        yield number, parse_segment(line, path=path, line=number)


def parse_segment(text: str, *, path: str | os.PathLike[str], line: int) -> RecordingSegment:
    """Parse a line of ``segments``.

    Args:
        text: the line.
        path: its file, for the error.
        line: its number, for the error.

    Raises:
        InputError: it is malformed.
    """
    fields = text.split()
    try:
        key, recording, start_s, until_s = fields[0], fields[1], float(fields[2]), float(fields[3])
        channel = int(fields[4]) if len(fields) > 4 else -1
    except (IndexError, ValueError):
        raise InputError(
            f"expected 'utterance recording start end [channel]', found {text!r}", path=path, line=line
        ) from None
    if len(fields) > 5:
        raise InputError(f"expected 4 or 5 fields, found {len(fields)}", path=path, line=line)
    end_s = None if until_s == -1 else until_s
    if not (0 <= start_s < float("inf") if end_s is None else 0 <= start_s < end_s < float("inf")):
        raise InputError(
            f"utterance {key!r} runs from {start_s} to {until_s} s",
            path=path,
            line=line,
            hint="expected 0 <= start < end, or -1 for the end of the recording",
        )
    if channel < -1:
        raise InputError(
            f"utterance {key!r} is in channel {channel}",
            path=path,
            line=line,
            hint="channels are counted from 0; -1 means unspecified",
        )
    return RecordingSegment(key, recording, start_s, end_s, None if channel < 0 else channel)
