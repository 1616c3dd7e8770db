"""Decoding by ffmpeg (PyAV) what libsndfile does not read completely: MP3, AAC, GSM, chained Ogg, video, ...

Such decoders have state: a sample depends on what was decoded before it. So that a range is bitwise identical
to the same part of the whole, the whole is also decoded in pieces: at the first packet after each multiple of
20 s, a new decoder takes over that was started a second earlier. A range starts at the same packet, found in
an index of the file, which is a by-product of decoding it once; nothing else gives a reliable length.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from sdpn.errors import InputError
from sdpn.io.containers import (
    ac3_frame_length,
    adts_frame_length,
    amr_frame_length,
    mpeg_frame_length,
    mpeg_frames_promised,
)
from sdpn.io.decoding import REPAIR, Decoder, TruncatedAudio, check_header, truncated
from sdpn.io.samples import scale
from sdpn.io.stored import StoredAudio, locate

if TYPE_CHECKING:
    import av

_log = logging.getLogger(__name__)

_HINT = "convert it to wav or flac"

#: Demuxers that are allowed. Playlists and the like, which refer to other files, are not among them.
_FORMATS = (
    "aac,ac3,eac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,flac,flv,gsm,loas,matroska,webm,"
    "mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,nut,ogg,rm,shn,tak,tta,voc,w64,wav,wv,xwma"
)

_ANCHOR_S = 20
_LEAD_S = 1

#: Decoders that can be created from the stream parameters alone; for others the file is opened again.
_SIMPLE = {
    "aac", "ac3", "alac", "amrnb", "amrwb", "eac3", "flac", "libopencore_amrnb", "libopencore_amrwb", "mp2",
    "mp2float", "mp3", "mp3float", "opus", "vorbis",
}  # fmt: skip

#: Single-stream containers whose header gives the length to a fraction of a second.
_TELLING = {"wav", "w64", "aiff", "au", "caf", "flac", "tta", "wv", "ape"}
#: Tolerated difference from the promised length: encoders count their padding differently.
_SLACK_S = 0.1

#: Maximum number of MP3 frames that only hold encoder delay and padding.
_PADDING = 4

#: Share of packets that may fail to decode before the file is rejected.
_MOST_FAULTY = 0.1

#: Files whose index is kept.
_KEPT = 4096


@dataclass(frozen=True)
class _Packet:
    """Properties that identify a packet."""

    number: int
    pts: int | None
    size: int


@dataclass(frozen=True)
class _Anchor:
    """A position where a new decoder takes over.

    Attributes:
        at: first frame that it contributes.
        lead: the packet that it starts with.
        packet: number of the packet that gives frame ``at``.
    """

    at: int
    lead: _Packet
    packet: int


@dataclass
class _Index:
    """Index of a file, complete after decoding it once."""

    length: int = 0
    anchors: list[_Anchor] = field(default_factory=list)
    damage: TruncatedAudio | None = None


_indices: OrderedDict[tuple[str, int, int], _Index] = OrderedDict()


class FfmpegDecoder(Decoder):
    """A file that ffmpeg plays: the first of its audio streams.

    Args:
        path: path for errors.
        source: where its bytes are; by default a file at ``path``.
        stream: stream to decode instead, once and from its start; need not be seekable.
        promised_s: duration according to its header, if more reliable than ffmpeg's.
        chained: whether it consists of several recordings in sequence, each with its own headers.

    Raises:
        InputError: it is not audio, or cannot be decoded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        source: StoredAudio | None = None,
        stream: BinaryIO | None = None,
        promised_s: float | None = None,
        chained: bool = False,
    ) -> None:
        self._path = path
        self._promised_s = promised_s
        self._once = stream
        self._chained = chained
        self._bytes: StoredAudio | BinaryIO = stream or source or locate(path)
        self._key: tuple[str, int, int] | None = None
        if isinstance(self._bytes, StoredAudio):
            self._key = os.path.abspath(path), self._bytes.size, self._bytes.mtime_ns
        self.damage: TruncatedAudio | None = None
        self.is_float = False
        self._opened: _Opened | None = _Opened(path, self._bytes)
        try:
            self.rate_hz, self.num_channels = self._opened.rate_hz, self._opened.num_channels
            check_header(self.rate_hz, self.num_channels, path)
        except InputError:
            self.close()
            raise
        self.expected_s: float | None = self._opened.duration_s
        index = _indices.get(self._key) if self._key else None
        self.length: int | None = None if index is None else index.length

    def num_frames(self) -> int:
        """Its length; decodes all of it, unless that was done before.

        Raises:
            TruncatedAudio: it is truncated.
            InputError: it cannot be decoded.
        """
        index = self._index()
        self.damage = self.damage or index.damage
        return index.length

    def frames(self, start: int, stop: int | None = None) -> Iterator[np.ndarray]:
        """As `Decoder.frames`."""
        anchor = None
        if start >= _ANCHOR_S * self.rate_hz and not self._chained and self._once is None:
            before = [anchor for anchor in self._index().anchors if anchor.at <= start]
            anchor = before[-1] if before else None
        at = 0 if anchor is None else anchor.at
        for piece in self._decode(anchor):
            end = at + len(piece)
            if stop is not None and at >= stop:
                return
            if end > start:
                yield piece[max(0, start - at) : None if stop is None else stop - at]
            at = end
            if stop is not None and at >= stop:
                return

    def close(self) -> None:
        """Let the file go."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _index(self) -> _Index:
        index = _indices.get(self._key) if self._key else None
        if index is None:
            with contextlib.suppress(TruncatedAudio):  # the index has it
                for _ in self._decode(None):
                    pass
            if self._key is None:
                raise ValueError("the length of a stream is unknown before its end")
            index = _indices[self._key]
        self.length = index.length
        return index

    def _decode(self, anchor: _Anchor | None) -> Iterator[np.ndarray]:
        """Decode from an anchor, or from the start, which completes the index."""
        opened, self._opened = self._opened, None
        if opened is None:
            if self._once is not None:
                raise InputError("is a stream, which can be read only once", path=self._path)
            opened = _Opened(self._path, self._bytes)
        try:
            yield from self._decode_opened(opened, anchor)
        finally:
            opened.close()

    def _decode_opened(self, opened: _Opened, anchor: _Anchor | None) -> Iterator[np.ndarray]:
        step, lead = _ANCHOR_S * self.rate_hz, _LEAD_S * self.rate_hz
        anchors: list[_Anchor] = []
        at = number = faults = 0
        packets = opened.packets()
        if anchor is not None:
            at, number = anchor.at, anchor.lead.number
            packets = opened.packets_from(anchor.lead)
        boundary = (at // step + 1) * step
        current = opened.fresh()
        following: tuple[_Packet, _Fresh] | None = None
        uniform = _Uniform(self.rate_hz, self.num_channels)
        last = None
        for packet in packets:
            if anchor is not None and number < anchor.packet:
                current.decode(packet)  # to settle
                number += 1
                continue
            if not (self._chained or opened.once or uniform.varies):
                if following is None and at >= boundary - lead:
                    following = _Packet(number, packet.pts, packet.size), opened.fresh()
                if following is not None and at >= boundary:
                    anchors.append(_Anchor(at, following[0], number))
                    current, following = following[1], None
                    boundary = (at // step + 1) * step
                if following is not None:
                    following[1].decode(packet)
            frames = current.decode(packet)
            if frames is None:
                faults += 1
            number += 1
            last = packet
            for piece in uniform.take(frames or []):
                at += len(piece)
                yield piece
        for piece in [*uniform.take(current.decode(None) or []), *uniform.rest()]:
            at += len(piece)
            yield piece
        if at == 0 or faults > _MOST_FAULTY * number:
            raise InputError(
                f"cannot be decoded: {faults} of {number} packets are damaged"
                if number
                else "the audio file contains no samples",
                path=self._path,
                hint="copy or convert it again",
            )
        damage = self._end(opened, at, last)
        if faults and damage is None and anchor is None:
            _log.warning("%s: skipped %d damaged packets of %d", self._path, faults, number)
        if anchor is None and self._key is not None:
            _indices[self._key] = _Index(at, anchors, damage)
            while len(_indices) > _KEPT:
                _indices.popitem(last=False)
        if damage is not None:
            raise damage

    def _end(self, opened: _Opened, at: int, last: av.Packet | None) -> TruncatedAudio | None:
        """Check for missing data at the end, from the last packet and the header."""
        held_s = at / self.rate_hz
        if opened.broken is not None:
            return TruncatedAudio(
                f"is damaged: it cannot be read beyond {held_s:.2f} s ({opened.broken})",
                path=self._path,
                hint=REPAIR,
            )
        if last is not None and opened.is_cut(last):
            return TruncatedAudio(
                f"is truncated: it ends within a frame, after {held_s:.2f} s",
                path=self._path,
                hint=REPAIR,
            )
        promised_s = opened.promised_s if self._promised_s is None else self._promised_s
        if promised_s is not None and held_s < promised_s - _SLACK_S:
            return truncated(self._path, held_s, promised_s)
        return None


class _Opened:
    """An open container and its first audio stream.

    Attributes:
        broken: reason why it cannot be read to its end; None if unknown.
    """

    def __init__(self, path: str | os.PathLike[str], source: StoredAudio | BinaryIO) -> None:
        import av

        self._path = path
        self._source = source
        self.once = not isinstance(source, StoredAudio)
        self._file: BinaryIO = source.open() if isinstance(source, StoredAudio) else source
        self._again: list[_Opened] = []
        self.broken: str | None = None
        try:
            self._container: Any = av.open(
                self._file,
                options={"format_whitelist": _FORMATS},
                metadata_errors="replace",
            )
        except (av.FFmpegError, ValueError) as error:
            self._file.close()
            raise InputError(f"is not readable audio ({_reason(error)})", path=path, hint=_HINT) from error
        if not self._container.streams.audio:
            self.close()
            raise InputError("has no audio stream", path=path, hint=_HINT)
        self._stream: Any = self._container.streams.audio[0]
        context: Any = self._stream.codec_context
        if context is None:
            self.close()
            raise InputError("uses a codec that ffmpeg does not support", path=path, hint=_HINT)
        context.thread_count = 1
        self._context = context
        self.name: str = context.codec.name
        self._format: str = self._container.format.name
        self.rate_hz: int = context.sample_rate or 0
        self.num_channels: int = context.channels or 0

    @property
    def duration_s(self) -> float | None:
        """Length according to the header, including estimates."""
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        return None if self._container.duration is None else self._container.duration / 1e6

    @property
    def promised_s(self) -> float | None:
        """Length in seconds if the header gives it exactly, or None."""
        if self._format == "mp3" and isinstance(self._source, StoredAudio):
            with self._source.open() as stream:
                promised = mpeg_frames_promised(stream)
            if promised is None:
                return None
            frames, samples = promised
            return (frames - _PADDING) * samples / self.rate_hz
        telling = not _TELLING.isdisjoint(self._format.split(","))
        return self.duration_s if telling and self._stream.duration is not None else None

    def fresh(self) -> _Fresh:
        """A new decoder."""
        import av

        if self.once:
            return _Fresh(self._context)
        if self.name not in _SIMPLE:  # needs parameters from the container
            self._again.append(_Opened(self._path, self._source))
            return _Fresh(self._again[-1]._context)
        context: Any = av.CodecContext.create(self.name, "r")
        if self._context.extradata:
            context.extradata = self._context.extradata
        context.sample_rate = self._context.sample_rate
        context.layout = self._context.layout
        context.thread_count = 1
        return _Fresh(context)

    def packets(self) -> Iterator[av.Packet]:
        """The packets of the stream, from where it stands, up to its end or to where it is `broken`."""
        import av

        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except (av.FFmpegError, ValueError) as error:
            self.broken = _reason(error)

    def packets_from(self, wanted: _Packet) -> Iterator[av.Packet]:
        """The packets from a known one on, by seeking where possible, else by skipping those before it."""
        import av

        found = False
        if wanted.pts is not None:
            with contextlib.suppress(av.FFmpegError):
                self._container.seek(wanted.pts, stream=self._stream)
                for packet in self.packets():
                    if not found and (packet.pts is None or packet.pts > wanted.pts):
                        break
                    found = found or (packet.pts, packet.size) == (wanted.pts, wanted.size)
                    if found:
                        yield packet
        if not found:
            again = _Opened(self._path, self._source)
            self._again.append(again)
            for number, packet in enumerate(again.packets()):
                if number >= wanted.number:
                    yield packet
            self.broken = again.broken

    def is_cut(self, packet: av.Packet) -> bool:
        """Whether a packet is shorter than its header promises."""
        if self.name.startswith("pcm_"):
            return False  # its last packet is whatever is left
        if packet.is_corrupt:
            return True
        length = None
        if self.name in ("mp3", "mp3float", "mp2", "mp2float"):
            length = mpeg_frame_length(bytes(packet)[:4])
        elif self.name == "aac":  # in a file of its own or in a transport stream
            length = adts_frame_length(bytes(packet)[:7])
        elif self.name in ("ac3", "eac3"):
            length = ac3_frame_length(bytes(packet)[:6])
        elif self._format == "amr":
            length = amr_frame_length(bytes(packet)[:1], wide="wb" in self.name)
        return length is not None and packet.size < length

    def close(self) -> None:
        """Close everything that was opened."""
        for again in self._again:
            again.close()
        container = getattr(self, "_container", None)
        if container is not None:
            container.close()
        self._file.close()


class _Fresh:
    """A separate decoder."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def decode(self, packet: av.Packet | None) -> list[Any] | None:
        """The frames of a packet (None: flush the delayed frames); None if the packet is damaged."""
        import av

        try:
            return list(self._context.decode(packet))
        except (av.FFmpegError, ValueError):
            return None


class _Uniform:
    """Converts the frames of all packets to (n, channels) at one rate.

    Attributes:
        varies: whether the rate or the number of channels has changed.
    """

    def __init__(self, rate_hz: int, num_channels: int) -> None:
        self.varies = False
        self._rate_hz = rate_hz
        self._num_channels = num_channels
        self._resampler: Any = None
        self._from: tuple[int, str, str] | None = None

    def take(self, frames: list[Any]) -> Iterator[np.ndarray]:
        """Convert frames."""
        for frame in frames:
            if frame.sample_rate == self._rate_hz:
                yield from self.rest()
                yield self._as_array(frame)
                continue
            import av

            self.varies = True
            kind = frame.sample_rate, frame.layout.name, frame.format.name
            if kind != self._from:
                yield from self.rest()
                self._from = kind
                self._resampler = av.AudioResampler("fltp", frame.layout.name, self._rate_hz)
            frame.pts = None
            for resampled in self._resampler.resample(frame):
                yield self._as_array(resampled)

    def rest(self) -> Iterator[np.ndarray]:
        """The samples delayed by resampling."""
        if self._resampler is not None:
            for resampled in self._resampler.resample(None):
                if resampled.samples:
                    yield self._as_array(resampled)
            self._resampler = self._from = None

    def _as_array(self, frame: Any) -> np.ndarray:
        samples = frame.to_ndarray()
        channels = len(frame.layout.channels)
        if not frame.format.is_planar:
            samples = samples.reshape(-1, channels).T
        array = scale(samples).T
        if channels == self._num_channels:
            return array
        self.varies = True
        mono = array.mean(axis=1, keepdims=True)
        return np.ascontiguousarray(np.repeat(mono, self._num_channels, axis=1))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return type(error).__name__
