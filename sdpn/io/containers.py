"""Sizes promised by the headers of compressed files, since decoders play truncated ones without an error."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_KBIT = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}

_AC3_KBIT = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)

#: Bytes of a frame by its type.
_AMR_NB = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)
_AMR_WB = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1)

_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"


def mpeg_frame_length(head: bytes) -> int | None:
    """Bytes of the MPEG audio frame with this header (ISO 11172-3, 2.4.1.3); None if it is not one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbit, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or not 0 < kbit < 15:
        return None
    bits_per_s = 1000 * _KBIT[version == 3, layer][kbit]
    rate_hz = _RATES_HZ[version][rate]
    if layer == 1:
        return (12 * bits_per_s // rate_hz + padding) * 4
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bits_per_s // rate_hz + padding


def adts_frame_length(head: bytes) -> int | None:
    """Bytes of the AAC frame with this ADTS header (ISO 13818-7, 6.2); None if it is not one."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def ac3_frame_length(head: bytes) -> int | None:
    """Bytes of the AC-3 or E-AC-3 frame with this header (ATSC A/52, 5.4 and E.2); None if it is not one."""
    if len(head) < 6 or head[:2] != b"\x0bw":
        return None
    if head[5] >> 3 > 10:
        return (((head[2] & 7) << 8 | head[3]) + 1) * 2
    rate, code = head[4] >> 6, head[4] & 63
    if rate == 3 or code >= 2 * len(_AC3_KBIT):
        return None
    kbit = _AC3_KBIT[code >> 1]
    return (4 * kbit, 2 * (320 * kbit // 147 + code % 2), 6 * kbit)[rate]


def amr_frame_length(head: bytes, *, wide: bool) -> int | None:
    """Bytes of the AMR frame with this header (RFC 4867, 5.3); None if it is not one."""
    return (_AMR_WB if wide else _AMR_NB)[head[0] >> 3 & 15] if head else None


def mpeg_frames_promised(stream: BinaryIO) -> tuple[int, int] | None:
    """Frames that the Xing or Info tag of an MP3 file counts, and samples of each; None without a tag."""
    head = stream.read(10)
    if head[:3] == b"ID3" and len(head) == 10:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        stream.seek(10 + size + (10 if head[5] & 0x10 else 0))
    else:
        stream.seek(0)
    frame = stream.read(256)
    if mpeg_frame_length(frame[:4]) is None:
        return None
    for tag in (b"Xing", b"Info"):
        at = frame.find(tag, 4, 48)
        if at > 0 and len(frame) >= at + 12 and frame[at + 7] & 1:
            count = struct.unpack_from(">I", frame, at + 8)[0]
            return (count, 1152 if frame[1] >> 3 & 3 == 3 else 576) if count else None
    return None


def bytes_promised(stream: BinaryIO, size: int) -> int | None:
    """Bytes that a file needs for its outermost elements to be complete (MP4, Matroska); None if unknown.

    Args:
        stream: the file, at its start.
        size: bytes that it holds.
    """
    head = stream.read(12)
    if head[:4] == _EBML:
        return _matroska_size(stream)
    return _boxes(stream, size)[0] if head[4:8] == b"ftyp" else None


def lacks_index(stream: BinaryIO, size: int) -> bool:
    """Whether a file, at its start, is an MP4 without its index (moov)."""
    return stream.read(8)[4:] == b"ftyp" and b"moov" not in _boxes(stream, size)[1]


def _boxes(stream: BinaryIO, size: int) -> tuple[int | None, set[bytes]]:
    """Where the last box of an MP4 file ends, and the kinds of all (ISO 14496-12, 4.2)."""
    at, kinds = 0, set()
    while at < size:
        stream.seek(at)
        head = stream.read(16)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I", head[:4])[0], head[4:8]
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        if length == 0:
            length = size - at
        if length < 8 or not kind.isascii():
            break  # something else was appended
        kinds.add(kind)
        at += length
    return at or None, kinds


def _matroska_size(stream: BinaryIO) -> int | None:
    """Where the segment of a Matroska file ends (RFC 8794); None if its writer left it open."""
    stream.seek(4)
    length = _ebml_number(stream)
    if length is None:
        return None
    stream.seek(length, os.SEEK_CUR)
    if stream.read(4) != _SEGMENT:
        return None
    length = _ebml_number(stream)
    return None if length is None else stream.tell() + length


def _ebml_number(stream: BinaryIO) -> int | None:
    """A number of variable length; None if it is unknown or invalid."""
    first = stream.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = stream.read(more)
    value = first[0] & (1 << 7 - more) - 1
    number = int.from_bytes(bytes([value]) + rest, "big")
    return None if len(rest) < more or number == (1 << 7 * (more + 1)) - 1 else number
