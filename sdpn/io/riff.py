"""The chunks of a WAV file: how its samples are coded, and how many bytes of them are there."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

from sdpn.io.windowed_file import WindowedFile

#: Sizes from here on are placeholders of streaming writers (sox, ffmpeg) for an unknown length.
UNKNOWN_SIZE = 0x7FFFF000

#: Codings that libsndfile reads and seeks exactly: PCM, float, A-law and mu-law.
_PLAIN = {1, 3, 6, 7}
_EXTENSIBLE = 0xFFFE

#: Bytes at the start of a file that usually contain everything before the samples.
_FIRST = 128

#: Bytes by which writers misstate the size of the samples: the header included, or a padding byte.
_SLIP = 256

#: Tags that may be appended to any kind of file.
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")


class WavLayout(NamedTuple):
    """Structure of a WAV file according to its chunks.

    Attributes:
        plain: whether its samples are PCM, float, A-law or mu-law.
        begin: where the samples begin, in bytes.
        promised: bytes of samples according to the header; unknown from `UNKNOWN_SIZE` on.
        held: bytes of samples that are present.
        bytes_per_s: of the samples.
    """

    plain: bool
    begin: int
    promised: int
    held: int
    bytes_per_s: int

    @property
    def is_short(self) -> bool:
        """Whether data is missing compared with the header, beyond the usual errors of writers."""
        missing = self.promised - self.held
        return self.promised < UNKNOWN_SIZE and missing > max(_SLIP, self.begin + 8)

    @property
    def is_wrong(self) -> bool:
        """Whether the size in the header is not that of the samples."""
        return self.promised != self.held

    @property
    def hides(self) -> bool:
        """Whether a reader that trusts the header would miss samples."""
        return self.promised < self.held


def wav_layout(stream: BinaryIO, size: int) -> WavLayout | None:
    """Walk the chunks of ``stream``, which holds ``size`` bytes, up to the samples; None without samples."""
    stream.seek(0)
    first = stream.read(_FIRST)
    order = ">" if first[:4] == b"RIFX" else "<"
    plain, bytes_per_s, at, begins = True, 0, 12, 0
    while True:
        if at + 34 > begins + len(first):
            stream.seek(at)
            first, begins = stream.read(34), at
        head = first[at - begins : at - begins + 8]
        if len(head) < 8:
            return None
        name, length = head[:4], struct.unpack(order + "I", head[4:])[0]
        begin = at + 8
        if name == b"fmt ":
            coding = first[at - begins + 8 : at - begins + 34]
            if len(coding) >= 14:
                tag, _, _, bytes_per_s = struct.unpack_from(order + "HHII", coding)
                if tag == _EXTENSIBLE and len(coding) == 26:
                    tag = struct.unpack_from(order + "H", coding, 24)[0]
                plain = tag in _PLAIN
        elif name == b"data":
            there = size - begin
            if length >= UNKNOWN_SIZE and length > there:
                return WavLayout(plain, begin, UNKNOWN_SIZE, there, bytes_per_s)
            if length < there and not _ends_there(stream, begin + length, size, order):
                return WavLayout(plain, begin, length, there, bytes_per_s)
            return WavLayout(plain, begin, length, min(length, there), bytes_per_s)
        at = begin + length + length % 2


def _ends_there(stream: BinaryIO, at: int, size: int, order: str) -> bool:
    """Whether the data from ``at`` on are not samples: chunks, a tag, padding, or a few bytes."""
    for begin in (at, at + at % 2):  # some writers forget the byte that makes a chunk's length even
        stream.seek(begin)
        head = stream.read(4096)
        if len(head) < 8 or head.startswith(_TAGS) or not head.strip(b"\0"):
            return True
        named = all(32 <= byte < 127 for byte in head[:4])
        if named and begin + 8 + struct.unpack(order + "I", head[4:8])[0] <= size:
            return True
    return False


def is_wav(head: bytes) -> bool:
    """Whether a file that begins so is a WAV file."""
    return head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE"


def mended(path: str | os.PathLike[str], layout: WavLayout, begin: int = 0) -> WindowedFile:
    """The WAV file at ``begin`` of a file with a header that gives the actual size of the samples."""
    with open(path, "rb") as stream:
        stream.seek(begin)
        header = bytearray(stream.read(layout.begin))
    order = ">I" if header[:4] == b"RIFX" else "<I"
    # the 32-bit maximum; libsndfile then reads to the end of the file
    struct.pack_into(order, header, 4, min(layout.begin - 8 + layout.held, 0xFFFFFFFF))
    struct.pack_into(order, header, layout.begin - 4, min(layout.held, 0xFFFFFFFF))
    return WindowedFile(path, begin, layout.begin + layout.held, bytes(header))
