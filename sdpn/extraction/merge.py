"""Merging the parts of all processes into one table, after checking for missing and duplicate utterances."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sdpn.errors import InputError
from sdpn.extraction.clips import parse_windows
from sdpn.extraction.part import (
    Entry,
    failed_line,
    mapped,
    read_failed,
    read_index,
    remove_part,
    signature,
    window_key,
)
from sdpn.extraction.settings import read_settings
from sdpn.io.ark import iterate_ark
from sdpn.io.atomic import atomic_path, atomic_write_text, explained
from sdpn.io.kaldi import Utterance
from sdpn.io.locks import lock_file

_MERGED = "merged"


@dataclass(frozen=True, kw_only=True)
class Output:
    """The files of an extraction.

    Attributes:
        folder: folder of the tables; unfinished work is in its subfolder ``progress``.
    """

    folder: Path

    @property
    def progress(self) -> Path:
        """Parts and settings."""
        return self.folder / "progress"

    @property
    def ark(self) -> Path:
        """The archive."""
        return self.folder / "embeddings.ark"

    @property
    def scp(self) -> Path:
        """Its scp index."""
        return self.folder / "embeddings.scp"

    @property
    def npz(self) -> Path:
        """The same embeddings for NumPy."""
        return self.folder / "embeddings.npz"

    @property
    def segments(self) -> Path:
        """Times of windows."""
        return self.folder / "segments"

    @property
    def failed(self) -> Path:
        """Utterances without an embedding."""
        return self.folder / "failed.txt"

    def part(self, shard: str) -> Path:
        """Archive of one process."""
        return self.progress / f"{shard}.ark"

    def parts(self) -> list[Path]:
        """Archives of all processes."""
        return sorted(
            path.with_suffix(".ark") for path in self.progress.glob("*.index") if path.stem != _MERGED
        )

    @property
    def merged_index(self) -> Path:
        """Index of the merged archive."""
        return self.progress / f"{_MERGED}.index"

    @property
    def merged_failed(self) -> Path:
        """Failed utterances of the merged archive, for later processes."""
        return self.progress / f"{_MERGED}.failed"


@dataclass(frozen=True, kw_only=True)
class Status:
    """State of an extraction.

    Attributes:
        finished: id -> its entry and archive.
        failed: id -> reason of the failure.
        missing: ids not processed yet, in the order of the data.
        is_merged: whether all finished utterances are in the merged table, in order.
    """

    finished: Mapping[str, tuple[Entry, Path]]
    failed: Mapping[str, str]
    missing: Sequence[str]
    is_merged: bool


def scan(output: Output, utterances: Sequence[Utterance]) -> Status:
    """Find out which utterances are finished, failed and missing.

    Embeddings of an id from another file or segment are ignored, as are ids that are no longer in the data.

    Raises:
        InputError: an index is damaged, or two processes have embedded the same utterance.
    """
    signatures = {utterance.id: signature(utterance) for utterance in utterances}
    finished: dict[str, tuple[Entry, Path]] = {}
    merged = read_index(output.merged_index) if output.ark.is_file() else []
    for entry in merged:
        if signatures.get(entry.id) == entry.signature:
            finished[entry.id] = (entry, output.ark)
    failed = _failed(output.merged_failed, signatures)
    for path in output.parts():
        for entry in read_index(path.with_suffix(".index")):
            if signatures.get(entry.id) != entry.signature:
                continue
            _, other = finished.get(entry.id, (entry, output.ark))
            if other != output.ark:
                raise InputError(
                    f"utterance {entry.id!r} is in both {other.name} and {path.name}",
                    path=output.progress,
                    hint="shards of different counts ran at the same time; remove one of the two parts",
                )
            finished[entry.id] = (entry, path)
        failed |= _failed(path.with_suffix(".failed"), signatures)
    failed = {name: failed[name] for name in signatures if name in failed and name not in finished}
    order = [name for name in signatures if name in finished]
    return Status(
        finished=finished,
        failed=failed,
        missing=[name for name in signatures if name not in finished and name not in failed],
        is_merged=output.scp.is_file() and [entry.id for entry in merged] == order and not output.parts(),
    )


def merge(
    output: Output, utterances: Sequence[Utterance], recordings: Mapping[str, str], *, npz: bool
) -> Status:
    """Write the table of all embeddings, in the order of the data, and remove the parts.

    Every vector is verified by its checksum. Files are written atomically: the archive, then the scp, then
    the others; an interrupted merge is repeated from the parts.

    Args:
        output: the files.
        utterances: all utterances of the data.
        recordings: utterance -> recording, for the times of windows; other utterances are whole recordings.
        npz: also write ``embeddings.npz``: ``ids`` (N,) and ``embeddings`` (N, D).

    Raises:
        InputError: utterances are missing or duplicate, an archive is damaged, or nothing was embedded.
    """
    with merge_lock(output):
        status = scan(output, utterances)
        if status.missing:
            raise InputError(
                f"{len(status.missing)} of {len(utterances)} utterances are missing, the first is "
                f"{status.missing[0]!r}",
                path=output.progress,
                hint="run the shards that are not finished, with the same commands",
            )
        if not status.finished:
            why = next(iter(status.failed.values()))
            raise InputError(f"none of the {len(utterances)} utterances could be embedded; the first: {why}")
        if not status.is_merged:
            _write(output, status, utterances, recordings)
        if npz:
            _write_npz(output)
        _write_failed(output, status, utterances)
        for path in output.parts():
            remove_part(path)
        return status


def _failed(path: Path, signatures: Mapping[str, str]) -> dict[str, str]:
    """Reasons of failures by id, for utterances that are still in the data."""
    return {name: why for name, signed, why in read_failed(path) if signatures.get(name) == signed}


def _write(
    output: Output, status: Status, utterances: Sequence[Utterance], recordings: Mapping[str, str]
) -> None:
    settings = read_settings(output.progress)
    assert settings is not None
    windows = None if settings.windows is None else parse_windows(settings.windows)
    entries: list[Entry] = []
    lines: list[str] = []
    segments: list[str] = []
    ark = output.ark.resolve()
    with ExitStack() as stack, atomic_path(output.ark) as temporary, open(temporary, "wb") as stream:
        archives: dict[Path, mmap.mmap | bytes] = {}
        for utterance in utterances:
            if utterance.id not in status.finished:
                continue
            entry, path = status.finished[utterance.id]
            if path not in archives:
                archives[path] = stack.enter_context(mapped(path))
            data = entry.bytes_in(archives[path])
            if data is None:
                raise InputError(
                    f"the entry of utterance {entry.id!r} is damaged",
                    path=path,
                    hint="remove this part and run the same command again",
                )
            entries.append(replace(entry, offset=stream.tell()))
            keys = (
                [entry.id]
                if windows is None
                else [window_key(entry.id, number) for number in range(entry.num_vectors)]
            )
            starts = [len(key.encode()) + 1 for key in keys]
            size = (len(data) - sum(starts)) // len(keys)  # of the vector, without its key
            at = stream.tell()
            for key, start in zip(keys, starts, strict=True):
                lines.append(f"{key} {ark}:{at + start}\n")
                at += start + size
            if windows is not None:
                recording = recordings.get(entry.id, entry.id)
                times_N2 = windows.times(entry.duration_s) + utterance.start_s
                segments += [
                    f"{key} {recording} {start:.4f} {end:.4f}\n"
                    for key, (start, end) in zip(keys, times_N2, strict=True)
                ]
            stream.write(data)
        output.scp.unlink(missing_ok=True)  # both would refer to the previous archive
        output.merged_index.unlink(missing_ok=True)
    atomic_write_text(output.merged_index, "".join(entry.line() for entry in entries))
    if windows is not None:
        atomic_write_text(output.segments, "".join(segments))
    atomic_write_text(output.scp, "".join(lines))


def _write_npz(output: Output) -> None:
    """All embeddings as two arrays."""
    with mapped(output.ark) as archive:
        keys, rows = zip(*iterate_ark(archive), strict=True)
    with atomic_path(output.npz) as temporary:
        np.savez(temporary, ids=np.array(keys), embeddings=np.stack(rows))


def _write_failed(output: Output, status: Status, utterances: Sequence[Utterance]) -> None:
    """Write the list of failures, if there are any."""
    lines = [
        failed_line(utterance, status.failed[utterance.id])
        for utterance in utterances
        if utterance.id in status.failed
    ]
    atomic_write_text(output.merged_failed, "".join(lines))
    if status.failed:
        atomic_write_text(output.failed, "".join(f"{name} {why}\n" for name, why in status.failed.items()))
    else:
        output.failed.unlink(missing_ok=True)


@contextmanager
def merge_lock(output: Output) -> Iterator[None]:
    """Lock out merges by other processes, which would remove parts.

    The operating system releases the lock when the process ends.

    Raises:
        InputError: there is nothing to merge.
    """
    if not output.progress.is_dir():
        raise InputError("nothing has been extracted here", path=output.folder)
    path = output.progress / "merge.lock"
    with ExitStack() as stack:
        with explained(path):
            stream = stack.enter_context(open(path, "a"))
        lock_file(stream, wait=True)
        yield
