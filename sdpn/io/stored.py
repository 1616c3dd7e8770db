"""Where the bytes of a recording are: a file of its own, or a part of an archive.

``x.ark:5`` is audio inside a Kaldi archive, at byte 5: a WAV file as Kaldi writes it, or any file behind its
length, as kaldiio does. ``x.tar:1536`` is a file inside a tar archive whose bytes begin there, such as
``sdpn pack`` writes; the 512 bytes before it are its header, which gives its length and has a checksum.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from dataclasses import dataclass
from typing import BinaryIO

from sdpn.errors import InputError
from sdpn.io.decoding import truncated
from sdpn.io.riff import UNKNOWN_SIZE, is_wav
from sdpn.io.windowed_file import WindowedFile

#: Parts of an archive up to this size are read at once: an utterance, decoded in a row.
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class StoredAudio:
    """The bytes of a recording.

    Attributes:
        path: as the user names it.
        file: the file that holds them.
        begin: where they begin in it.
        size: how many there are.
        mtime_ns: when that file was changed.
        name: of the recording as a file; its suffix tells ffmpeg what the content alone does not.
    """

    path: str
    file: str
    begin: int
    size: int
    mtime_ns: int
    name: str

    @property
    def is_part(self) -> bool:
        """Whether they are part of an archive."""
        return self.path != self.file

    def open(self) -> BinaryIO:
        """Open them as a file of its own."""
        if not self.is_part:
            return open(self.file, "rb")
        if self.size > _AT_ONCE:
            return WindowedFile(self.file, self.begin, self.size, name=self.name)  # type: ignore[return-value]
        with open(self.file, "rb", buffering=0) as stream:
            stream.seek(self.begin)
            return _Held(stream.read(self.size), self.name)


class _Held(io.BytesIO):
    """A part of an archive in memory."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def locate(path: str | os.PathLike[str], state: os.stat_result | None = None) -> StoredAudio:
    """Find the bytes of a recording.

    Args:
        path: a file, or a place in an archive.
        state: its `os.stat`, if already known.

    Raises:
        InputError: it is missing, a folder, or no place where audio begins.
    """
    name = os.fspath(path)
    try:
        state = os.stat(path) if state is None else state
        if stat.S_ISDIR(state.st_mode):
            raise InputError("is a folder; expected an audio file", path=path)
        return StoredAudio(name, name, 0, state.st_size, state.st_mtime_ns, name)
    except FileNotFoundError:
        if (entry := archived(path)) is None:
            raise InputError("no such audio file", path=path) from None
    archive, offset = entry
    state = os.stat(archive)
    with open(archive, "rb", buffering=0) as stream:
        find = _in_tar if archive.endswith(".tar") else _in_ark
        begin, size, member = find(stream, path, offset, state.st_size)
    return StoredAudio(name, archive, begin, size, state.st_mtime_ns, member or archive)


def archived(path: str | os.PathLike[str]) -> tuple[str, int] | None:
    """Archive and byte offset of ``x.ark:5``, audio inside an archive; None for any other name."""
    name, colon, offset = os.fspath(path).rpartition(":")
    return (name, int(offset)) if colon and offset.isdecimal() and os.path.isfile(name) else None


def _in_tar(stream: BinaryIO, path: str | os.PathLike[str], offset: int, held: int) -> tuple[int, int, str]:
    try:
        if offset < tarfile.BLOCKSIZE:
            raise tarfile.HeaderError("there is no space for a header")
        stream.seek(offset - tarfile.BLOCKSIZE)
        member = tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        if not member.isreg():
            raise tarfile.HeaderError("another kind of entry begins there")
    except (tarfile.HeaderError, OverflowError) as error:
        raise InputError(
            f"no file in the archive begins at this byte ({error})",
            path=path,
            hint="the archive is damaged, or the table belongs to another one: copy or pack both again",
        ) from error
    if offset + member.size > held:
        raise InputError(
            f"the archive is truncated: {member.name} ends at byte {offset + member.size}, "
            f"the archive at {held}",
            path=path,
            hint="copy the archive again",
        )
    return offset, member.size, member.name


def _in_ark(stream: BinaryIO, path: str | os.PathLike[str], offset: int, held: int) -> tuple[int, int, str]:
    size = held - offset
    stream.seek(offset)
    head = stream.read(14)
    if is_wav(head) and (length := int.from_bytes(head[4:8], "little")) < UNKNOWN_SIZE:
        if length + 8 > size:
            raise truncated(path, size, length + 8)
        size = length + 8
    elif head[:5] == b"AUDIO" and 1 <= head[5] <= 8:
        begin = 6 + head[5]
        there, size = size - begin, int.from_bytes(head[6:begin], "little")
        if size > there:
            raise truncated(path, there, size)
        offset += begin
    if size <= 0:
        raise InputError("there is no audio at this place in the archive", path=path)
    return offset, size, ""
