"""The pages of an Ogg file (RFC 3533): how many streams it holds, and whether they end as they should."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

#: Fixed part of a page's header.
_HEADER = 27
_FIRST, _LAST = 2, 4


class OggLayout(NamedTuple):
    """Structure of an Ogg file according to its pages.

    Attributes:
        codec: first bytes of the first packet, which name the codec.
        num_streams: logical streams, one after the other or side by side.
        flagged: whether the last page is marked as the last.
        cut: description of the truncated part, or None.
        played: samples before the end at the codec's clock rate, according to the last complete page.
        lost: bytes between pages that do not belong to one, remnants of damaged pages.
    """

    codec: bytes
    num_streams: int
    flagged: bool
    cut: str | None
    played: int
    lost: int


def ogg_layout(stream: BinaryIO, size: int) -> OggLayout:
    """Walk the pages of ``stream``, which holds ``size`` bytes, reading their headers alone.

    Data after the last page (tags that some tools append) is ignored.
    """
    codec, streams, flagged, open_packet, played, lost = b"", 0, False, False, 0, 0
    cut = None
    at = 0
    while at < size:
        stream.seek(at)
        head = stream.read(_HEADER + 255)
        if head[:4] != b"OggS":
            if b"OggS".startswith(head[:4]):
                cut = "its last page"
                break
            following = _next_page(stream, at)
            if following is None:
                break  # something else was appended
            lost += following - at
            at = following
            continue
        if len(head) < _HEADER or len(head) < _HEADER + head[26]:
            cut = "its last page"
            break
        flags, sizes = head[5], head[_HEADER : _HEADER + head[26]]
        body = at + _HEADER + len(sizes)
        if flags & _FIRST:
            streams += 1
            if not codec:
                stream.seek(body)
                codec = stream.read(8)
        at = body + sum(sizes)
        if at > size:
            cut = "its last page"
            break
        flagged = bool(flags & _LAST)
        if sizes:
            open_packet = sizes[-1] == 255
        granule = int.from_bytes(head[6:14], "little", signed=True)
        if granule >= 0:
            played = granule
    if cut is None and open_packet and not flagged:
        cut = "its last packet"
    return OggLayout(codec, streams, flagged, cut, played, lost)


def _next_page(stream: BinaryIO, at: int) -> int | None:
    """Start of the next page after ``at``, or None."""
    while True:
        stream.seek(at)
        block = stream.read(1 << 16)
        found = block.find(b"OggS")
        if found >= 0:
            return at + found
        if len(block) < 4:
            return None
        at += len(block) - 3
