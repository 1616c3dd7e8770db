"""Where the bytes of a recording are: a file of its own, or a part of an archive.

``x.ark:5`` is audio inside a Kaldi archive, at byte 5: a WAV file as Kaldi writes it, or any file behind its
length, as kaldiio does. ``x.tar:1536`` is a file inside a tar archive whose bytes begin there, such as
``sdpn pack`` writes; the 512 bytes before it are its header, which gives its length and has a checksum. Tar
has none for the content, and decoders of Opus leave out damaged pages without a word: ``sdpn pack`` names as
owner of a file the CRC-32 of its content, which is checked here.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
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
        crc32: checksum of the bytes, where an archive gives it.
    """

    path: str
    file: str
    begin: int
    size: int
    mtime_ns: int
    name: str
    crc32: int | None = None

    @property
    def is_part(self) -> bool:
        """Whether they are part of an archive."""
        return self.path != self.file

    def open(self) -> BinaryIO:
        """Open them as a file of its own.

        Raises:
            InputError: they are not those that were put into the archive.
        """
        if not self.is_part:
            return open(self.file, "rb")
        if self.size > _AT_ONCE:
            _check_large(self)
            return WindowedFile(self.file, self.begin, self.size, name=self.name)  # type: ignore[return-value]
        with open(self.file, "rb", buffering=0) as stream:
            stream.seek(self.begin)
            data = stream.read(self.size)
        _check(self, zlib.crc32(data))
        return _Held(data, self.name)


def _check(source: StoredAudio, found: int) -> None:
    if source.crc32 is not None and found != source.crc32:
        raise InputError(
            f"is damaged: the content of {source.name} is not what was packed (CRC-32)",
            path=source.path,
            hint="copy the archive again",
        )


@lru_cache(maxsize=4096)
def _check_large(source: StoredAudio) -> None:
    """The same for what is not read at once, a single time in a process."""
    if source.crc32 is not None:
        with WindowedFile(source.file, source.begin, source.size) as stream:
            _check(source, _crc32(stream))


#: An owner that is a checksum.
_OWNER = re.compile("crc32-[0-9a-f]{8}")


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
        begin, size, member, crc32 = find(stream, path, offset, state.st_size)
    return StoredAudio(name, archive, begin, size, state.st_mtime_ns, member or archive, crc32)


def archived(path: str | os.PathLike[str]) -> tuple[str, int] | None:
    """Archive and byte offset of ``x.ark:5``, audio inside an archive; None for any other name."""
    name, colon, offset = os.fspath(path).rpartition(":")
    return (name, int(offset)) if colon and offset.isdecimal() and os.path.isfile(name) else None


def _in_tar(
    stream: BinaryIO, path: str | os.PathLike[str], offset: int, held: int
) -> tuple[int, int, str, int | None]:
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
    crc32 = int(member.uname[-8:], 16) if _OWNER.fullmatch(member.uname) else None
    return offset, member.size, member.name, crc32


def owner(content: BinaryIO) -> str:
    """What stands as owner of a file in a tar archive: the CRC-32 of its content, read to its end."""
    return f"crc32-{_crc32(content):08x}"


def _crc32(stream: BinaryIO | io.RawIOBase) -> int:
    found = 0
    while block := stream.read(_AT_ONCE):
        found = zlib.crc32(block, found)
    return found


def _in_ark(
    stream: BinaryIO, path: str | os.PathLike[str], offset: int, held: int
) -> tuple[int, int, str, int | None]:
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
    return offset, size, "", None
