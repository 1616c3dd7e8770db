r"""The part of an output that one process writes: an append-only archive that survives a kill.

``NAME.ark`` is a Kaldi archive. ``NAME.index`` has a line for each utterance, written after its vectors: ``id
signature offset size vectors seconds checksum``. Entries without an index line or with a wrong checksum are
incomplete, and are truncated when the part is reopened.
"""

from __future__ import annotations

import mmap
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from sdpn.errors import InputError
from sdpn.io.ark import open_ark, vector_entry
from sdpn.io.atomic import atomic_write_text, explained
from sdpn.io.kaldi import Utterance
from sdpn.io.locks import lock_file
from sdpn.io.text import numbered_lines

#: Maximum work lost in a power failure, in seconds; a kill loses at most a batch.
_SYNC_EVERY_S = 5.0


@dataclass(frozen=True)
class Entry:
    """An utterance in an archive.

    Attributes:
        id: of the utterance.
        signature: signature of its audio, see `signature`.
        offset: byte offset of the key of its first vector.
        size: bytes of all its vectors with their keys.
        num_vectors: number of vectors; more than one for windows.
        duration_s: length of the utterance.
        checksum: CRC-32 of those bytes.
    """

    id: str
    signature: str
    offset: int
    size: int
    num_vectors: int
    duration_s: float
    checksum: int

    def line(self) -> str:
        """Format as an index line."""
        return " ".join(map(str, astuple(self))) + "\n"

    def bytes_in(self, archive: mmap.mmap | bytes) -> bytes | None:
        """Read its bytes; None if they are incomplete or damaged."""
        found = archive[self.offset : self.offset + self.size]
        return found if len(found) == self.size and zlib.crc32(found) == self.checksum else None


def signature(utterance: Utterance) -> str:
    """Signature of file, segment and channel: an id whose audio changed is embedded again."""
    text = f"{os.path.abspath(utterance.path)}\n{utterance.start_s}\n{utterance.end_s}"
    if utterance.channel is not None:
        text += f"\n{utterance.channel}"
    return f"{zlib.crc32(text.encode(errors='surrogateescape')):08x}"


def window_key(utterance: str, number: int) -> str:
    """Key of the embedding of a window; ``segments`` has its times."""
    return f"{utterance}-{number:06}"


def read_index(path: Path) -> list[Entry]:
    """Read the entries of an index in order, without a truncated last line; none if there is no file.

    Raises:
        InputError: a line is malformed.
    """
    if not path.exists():
        return []
    whole = path.read_bytes().endswith(b"\n")
    entries = []
    rows = list(numbered_lines(path))
    for number, line in rows if whole else rows[:-1]:
        try:
            name, signed, offset, size, vectors, duration_s, checksum = line.split()
            entries.append(
                Entry(name, signed, int(offset), int(size), int(vectors), float(duration_s), int(checksum))
            )
        except ValueError:
            raise InputError(f"is no index of embeddings: {line!r}", path=path, line=number) from None
    return entries


class Part:
    """The archive of one process, opened for appending.

    Args:
        path: path of the archive; index and failures are next to it.

    Raises:
        InputError: another process is writing it, or the folder is not writable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index_path, self._failed_path = path.with_suffix(".index"), path.with_suffix(".failed")
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._archive = open(path, "ab")  # noqa: SIM115
        try:
            lock_file(self._archive, wait=False)
        except BlockingIOError:
            self._archive.close()
            raise InputError(
                "another process is extracting this part",
                path=path,
                hint="wait for it; several processes need different shards: --shard 0/2 and --shard 1/2",
            ) from None
        entries = list(_whole(read_index(self._index_path), path))
        end = entries[-1].offset + entries[-1].size if entries else 0
        os.truncate(path, end)
        atomic_write_text(self._index_path, "".join(entry.line() for entry in entries))
        self._failed_path.unlink(
            missing_ok=True
        )  # failed utterances are retried: files may have been repaired
        self._index = open(self._index_path, "ab")  # noqa: SIM115
        self._end = end
        self._synced = time.monotonic()
        self._failed: dict[str, str] = {}

    def __enter__(self) -> Part:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files; the failures are only stored if all utterances were processed."""
        with explained(self._path), self._archive, self._index:
            self._sync()
        if kind is None:
            atomic_write_text(self._failed_path, "".join(self._failed.values()))

    def add(self, utterance: Utterance, vectors_ND: np.ndarray, duration_s: float, *, windows: bool) -> None:
        """Append an utterance's embedding, or those of its windows: float32 (N, D)."""
        keys = (
            [window_key(utterance.id, number) for number in range(len(vectors_ND))]
            if windows
            else [utterance.id]
        )
        data = b"".join(vector_entry(key, row) for key, row in zip(keys, vectors_ND, strict=True))
        entry = Entry(
            utterance.id,
            signature(utterance),
            self._end,
            len(data),
            len(keys),
            duration_s,
            zlib.crc32(data),
        )
        with explained(self._path):
            self._archive.write(data)
            self._archive.flush()  # vectors before their index line
            self._index.write(entry.line().encode())
            self._index.flush()
            self._end += len(data)
            if time.monotonic() - self._synced > _SYNC_EVERY_S:
                self._sync()

    def fail(self, utterance: Utterance, why: str) -> None:
        """Record a failed utterance."""
        self._failed[utterance.id] = failed_line(utterance, why)

    def _sync(self) -> None:
        os.fsync(self._archive.fileno())
        os.fsync(self._index.fileno())
        self._synced = time.monotonic()


def remove_part(path: Path) -> None:
    """Remove a merged part, unless a process has it open."""
    with open(path, "ab") as archive:
        try:
            lock_file(archive, wait=False)
        except BlockingIOError:
            return
        for suffix in (".index", ".failed", ".ark"):  # without its index a part is void
            path.with_suffix(suffix).unlink(missing_ok=True)


def failed_line(utterance: Utterance, why: str) -> str:
    """``id signature why`` of an utterance that could not be embedded."""
    return f"{utterance.id} {signature(utterance)} {' '.join(why.split())}\n"


def read_failed(path: Path) -> Iterator[tuple[str, str, str]]:
    """(id, signature, why) of the utterances that a process could not embed."""
    if path.exists():
        for number, line in numbered_lines(path):
            fields = line.split(maxsplit=2)
            if len(fields) != 3:
                raise InputError("expected 'id signature reason'", path=path, line=number)
            yield fields[0], fields[1], fields[2]


def _whole(entries: Sequence[Entry], path: Path) -> Iterator[Entry]:
    """The entries before the first incomplete one."""
    with mapped(path) as archive:
        end = 0
        for entry in entries:
            if entry.offset != end or entry.bytes_in(archive) is None:
                return
            end += entry.size
            yield entry


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """Map an archive into memory."""
    archive = open_ark(path)
    try:
        yield archive
    finally:
        if isinstance(archive, mmap.mmap):
            archive.close()
