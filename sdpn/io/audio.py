"""Reading of any audio as mono float32, with clear errors for unusable input.

Files of nearly every format, pipes, file objects, arrays and tensors, at any rate and with any number of
channels: docs/audio.md lists the formats and their decoders.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Protocol, TypeAlias

import numpy as np

from sdpn.errors import InputError
from sdpn.io.decoder_choice import open_decoder, warn_once
from sdpn.io.decoding import Decoder, TruncatedAudio
from sdpn.io.resampling import needed, resample, resample_stream, resampled_length
from sdpn.io.samples import LOUDEST, SamplesDecoder
from sdpn.io.spool import Piped
from sdpn.io.stored import archived

__all__ = [
    "RATE_HZ", "Audio", "AudioInfo", "AudioStream", "Channel", "info", "is_audio", "is_file", "num_samples",
    "open_audio", "read", "read_range", "resample",
]  # fmt: skip

#: Sampling rate of everything inside sdpn, in Hz.
RATE_HZ = 16000

#: One channel, counted from 0, or the mean of all (None and "mix").
Channel: TypeAlias = "int | Literal['mix'] | None"

#: Minimum of (energy of the mean of all channels) / (mean energy of the channels) times their number. It is 1
#: for uncorrelated channels or a single active one, more for correlated ones; below this, channels cancel
#: each other.
_CANCELLED = 0.2


class TensorLike(Protocol):
    """A torch tensor, which this module does not import."""

    def detach(self) -> Any:
        """The same values without their gradient history."""


#: A recording: a path, ``"-"`` (standard input), a binary file object, samples with their rate
#: ``(samples, rate)`` in either order, pyannote's ``{"waveform": (channels, time), "sample_rate": rate}`` or
#: ``{"audio": path}``, and samples alone where their rate is given separately. Samples are numpy arrays or
#: torch tensors, (S,) or a matrix whose longer axis is time; floats in [-1, 1] or PCM of 8, 16 or 32 bits.
Audio: TypeAlias = (
    "str | os.PathLike[str] | BinaryIO | np.ndarray | TensorLike | tuple[Any, Any] | Mapping[str, Any]"
)


def is_audio(thing: object) -> bool:
    """Whether ``thing`` is one recording, and not several."""
    if isinstance(thing, tuple):
        return len(thing) == 2 and (_is_rate(thing[0]) or _is_rate(thing[1]))
    return (
        isinstance(thing, (str, os.PathLike, np.ndarray, Mapping))
        or hasattr(thing, "detach")
        or hasattr(thing, "read")
    )


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` names a file, or a place in an archive (``x.ark:5``, ``x.tar:1536``)."""
    return os.path.isfile(path) or archived(path) is not None


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    """Properties of an audio file.

    Attributes:
        path: the file.
        rate_hz: samples per second and channel.
        num_frames: samples per channel.
        num_channels: number of channels.
    """

    path: Path
    rate_hz: int
    num_frames: int
    num_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_frames / self.rate_hz


class AudioStream:
    """An opened recording, read from start to end or in ranges; see `open_audio`.

    Attributes:
        name: name of the recording: a file's stem, ``stdin``, or that given by a mapping.
        path: its file, or None.
        rate_hz: sampling rate of the output.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        name: str,
        path: Path | None = None,
        shown: str | None = None,
        channel: Channel = None,
        rate_hz: int = RATE_HZ,
        keep_truncated: bool = False,
        closing: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.rate_hz = rate_hz
        self._decoder = decoder
        self._shown = shown if path is None else path
        self._keep_truncated = keep_truncated
        self._closing = closing
        self._channel = None if channel == "mix" else channel
        try:
            if self._channel is not None and not 0 <= self._channel < decoder.num_channels:
                raise InputError(
                    f"has no channel {channel}, only {decoder.num_channels}",
                    path=self._shown,
                    hint="channels are counted from 0",
                )
            if decoder.damage is not None:
                self._broke_off(decoder.damage)
        except InputError:
            self.close()
            raise

    def __enter__(self) -> AudioStream:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @property
    def num_channels(self) -> int:
        """Number of channels of the recording."""
        return self._decoder.num_channels

    @property
    def duration_s(self) -> float | None:
        """Duration in seconds; None if it is unknown before the end."""
        return None if self._decoder.length is None else self._decoder.length / self._decoder.rate_hz

    @property
    def expected_s(self) -> float | None:
        """Length in seconds according to the header, for a progress bar: possibly an estimate, or None."""
        return self._decoder.expected_s

    def blocks(self, block_s: float = 30.0) -> Iterator[np.ndarray]:
        """Yield the recording in blocks, in memory that does not grow with its length.

        Args:
            block_s: length of a block in seconds; the last one may be shorter.

        Yields:
            mono float32 at ``rate_hz``; their concatenation is identical to `read`.

        Raises:
            InputError: it is truncated, cannot be decoded, or contains NaN or infinite samples.
        """
        block = max(1, round(block_s * self.rate_hz))
        yield from resample_stream(self._mono(0, None), self._decoder.rate_hz, self.rate_hz, block=block)

    def channel_blocks(self, block_s: float = 30.0) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the recording in blocks as `blocks` does, each channel separately, reading once.

        Args:
            block_s: as for `blocks`.

        Yields:
            the next block of each channel.

        Raises:
            InputError: as `blocks`.
        """
        block = max(1, round(block_s * self.rate_hz))
        copies = itertools.tee(self._frames(0, None), self.num_channels)  # all channels advance together

        def single(frames: Iterator[np.ndarray], channel: int) -> Iterator[np.ndarray]:
            for frame_block in frames:
                mono = np.ascontiguousarray(frame_block[:, channel])
                with self._renamed():
                    _check(mono, level=self._decoder.is_float)
                yield mono

        rates = self._decoder.rate_hz, self.rate_hz
        yield from zip(
            *(resample_stream(single(copy, at), *rates, block=block) for at, copy in enumerate(copies)),
            strict=True,
        )

    def read(self, start_s: float = 0.0, duration_s: float | None = None) -> np.ndarray:
        """As the function `read`."""
        start, stop = self._stretch(start_s, duration_s)
        return resample(_joined(self._mono(start, stop)), self._decoder.rate_hz, self.rate_hz)

    def read_range(
        self, first: int, count: int, start_s: float = 0.0, duration_s: float | None = None
    ) -> np.ndarray:
        """As the function `read_range`."""
        start, stop = self._stretch(start_s, duration_s)
        rate_hz = self._decoder.rate_hz
        stretch = needed(first, count, rate_hz, self.rate_hz)
        end = start + stretch.end if stop is None else min(start + stretch.end, stop)
        mono = _joined(self._mono(start + stretch.begin, end))
        return resample(mono, rate_hz, self.rate_hz)[stretch.skip : stretch.skip + count]

    def num_frames(self) -> int:
        """Frames at the rate of the recording; decodes all of it where the header does not give the length.

        Raises:
            InputError: it is truncated or cannot be decoded.
        """
        with self._renamed():
            count = self._decoder.num_frames()
            if self._decoder.damage is not None:
                self._broke_off(self._decoder.damage)
        return count

    def num_samples(self, start_s: float = 0.0, duration_s: float | None = None) -> int:
        """As the function `num_samples`."""
        start, stop = self._stretch(start_s, duration_s)
        held = self.num_frames()
        count = max(0, (held if stop is None else min(stop, held)) - start)
        return resampled_length(count, self._decoder.rate_hz, self.rate_hz)

    @property
    def source_rate_hz(self) -> int:
        """Rate of the recording itself."""
        return self._decoder.rate_hz

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()
        if self._closing is not None:
            self._closing()

    def _stretch(self, start_s: float, duration_s: float | None) -> tuple[int, int | None]:
        start = round(start_s * self._decoder.rate_hz)
        return start, None if duration_s is None else start + round(duration_s * self._decoder.rate_hz)

    def _mono(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        """Frames from ``start`` on as mono, at the rate of the recording, checked."""
        channels = self._decoder.num_channels
        take = 0 if channels == 1 else self._channel
        mixed = single = 0.0
        for frames in self._frames(start, stop):
            if take is None:
                mono = frames.mean(axis=1)
                mixed += float(np.dot(mono, mono))
                single += float(np.einsum("sc,sc->", frames, frames)) / channels
            else:
                mono = np.ascontiguousarray(frames[:, take])
            with self._renamed():
                _check(mono, level=self._decoder.is_float)
            yield mono
        if mixed * channels < _CANCELLED * single:
            warn_once(
                self._shown or self.name,
                f"its {channels} channels cancel each other out: their mean keeps {mixed / single:.1%} of "
                "their energy (choose one with --channel 0)",
            )

    def _frames(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        """Frames (n, channels) from ``start`` on, up to the last available one."""
        with self._renamed():
            try:
                yield from self._decoder.frames(start, stop)
            except TruncatedAudio as error:
                self._broke_off(error)

    def _broke_off(self, error: TruncatedAudio) -> None:
        if not self._keep_truncated:
            raise InputError(error.message, path=self._shown, hint=error.hint) from error
        warn_once(self._shown or self.name, f"{error.message}: read up to there")

    @contextlib.contextmanager
    def _renamed(self) -> Iterator[None]:
        """Report errors with the name given by the user."""
        try:
            yield
        except InputError as error:
            raise InputError(error.message, path=self._shown, hint=error.hint) from error


def open_audio(
    audio: Audio,
    *,
    channel: Channel = None,
    rate_hz: int = RATE_HZ,
    sample_rate: int | None = None,
    keep_truncated: bool = False,
) -> AudioStream:
    """Open a recording of any kind; a context manager.

    Args:
        audio: see `Audio`.
        channel: channel to read, counted from 0; None and "mix" average all, with a warning if they cancel
            each other out.
        rate_hz: sampling rate of the output; other rates are resampled (polyphase).
        sample_rate: rate in Hz of samples that come without one.
        keep_truncated: read a truncated file as far as it goes, with a warning.

    Raises:
        InputError: it is missing, empty, truncated, not audio, or has no such channel; or samples that are
            not a waveform.
    """
    settings: dict[str, Any] = {"rate_hz": rate_hz, "keep_truncated": keep_truncated}
    if isinstance(audio, Mapping):
        if channel is None:
            channel = audio.get("channel")
        name = str(audio.get("uri", "audio"))
        if "waveform" in audio:
            if "sample_rate" not in audio:
                raise InputError("a mapping with 'waveform' has no 'sample_rate'")
            samples = SamplesDecoder(audio["waveform"], audio["sample_rate"], channels_first=True)
            return AudioStream(samples, name=name, channel=channel, **settings)
        if "audio" not in audio:
            raise InputError(
                f"a mapping of {', '.join(map(repr, audio)) or 'nothing'}",
                hint="expected 'waveform' and 'sample_rate', or 'audio'",
            )
        stream = open_audio(audio["audio"], channel=channel, **settings)
        if "uri" in audio:
            stream.name = name
        return stream
    if isinstance(audio, tuple):
        if not is_audio(audio):
            raise InputError("a tuple that is not (samples, rate)", hint="give several recordings as a list")
        wave, rate = audio if _is_rate(audio[1]) else audio[::-1]
        return AudioStream(SamplesDecoder(wave, rate), name="audio", channel=channel, **settings)
    if isinstance(audio, (str, os.PathLike)):
        return _open_path(audio, channel, settings)
    if hasattr(audio, "read"):
        file: Any = audio
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)  # so that it can be read twice, and right after writing
        named = getattr(file, "name", None)
        name = named if isinstance(named, str) else "audio"
        return _open_piped(file, name, Path(name).stem, channel, settings)
    if sample_rate is None and (isinstance(audio, np.ndarray) or hasattr(audio, "detach")):
        raise InputError(
            "a waveform without a sampling rate", hint="use embed(wave, sample_rate=16000), or (wave, 16000)"
        )
    return AudioStream(SamplesDecoder(audio, sample_rate), name="audio", channel=channel, **settings)


def info(path: str | os.PathLike[str]) -> AudioInfo:
    """Properties of an audio file; it is decoded completely, once, if its header does not give its length.

    Raises:
        InputError: the file is missing, empty, truncated or not audio.
    """
    with open_audio(path) as audio:
        return AudioInfo(
            path=Path(path),
            rate_hz=audio.source_rate_hz,
            num_frames=audio.num_frames(),
            num_channels=audio.num_channels,
        )


def read(
    audio: Audio,
    *,
    rate_hz: int = RATE_HZ,
    channel: Channel = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    sample_rate: int | None = None,
) -> np.ndarray:
    """Read (a part of) a recording as mono float32 in [-1, 1].

    Args:
        audio: see `Audio`.
        rate_hz: rate of the result; the recording is resampled (polyphase) when its own differs.
        channel: channel to read, counted from 0; None and "mix" average all channels.
        start_s: start, in seconds.
        duration_s: length to read, in seconds; None reads to the end.
        sample_rate: rate in Hz of samples that come without one.

    Returns:
        samples (S,), float32. A range beyond the end of the file is cut there.

    Raises:
        InputError: the file is missing, empty, truncated, not audio, holds NaN or infinite
            samples, or has no such channel.
    """
    with open_audio(audio, channel=channel, rate_hz=rate_hz, sample_rate=sample_rate) as stream:
        return stream.read(start_s, duration_s)


def num_samples(
    path: str | os.PathLike[str],
    *,
    rate_hz: int = RATE_HZ,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> int:
    """Number of samples that `read` returns, from the file's header where it gives the length.

    Raises:
        InputError: the file is missing, empty, truncated or not audio.
    """
    with open_audio(path, rate_hz=rate_hz) as stream:
        return stream.num_samples(start_s, duration_s)


def read_range(
    path: str | os.PathLike[str],
    first: int,
    count: int,
    *,
    rate_hz: int = RATE_HZ,
    channel: Channel = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> np.ndarray:
    """Samples ``first`` … ``first + count - 1`` of what `read` gives, without decoding the rest.

    They are bitwise identical: the context that resampling and lossy decoders need is read as well.

    Args:
        path: an audio file.
        first: first sample, at ``rate_hz``.
        count: how many.
        rate_hz: as for `read`.
        channel: as for `read`.
        start_s: as for `read`.
        duration_s: as for `read`.

    Returns:
        (count,) float32; fewer where the end comes first.

    Raises:
        InputError: as `read`, for the part that is read.
    """
    with open_audio(path, channel=channel, rate_hz=rate_hz) as stream:
        return stream.read_range(first, count, start_s, duration_s)


def _open_path(path: str | os.PathLike[str], channel: Channel, settings: dict[str, Any]) -> AudioStream:
    if os.fspath(path) in ("-", "/dev/stdin"):
        return _open_piped(sys.stdin.buffer, "stdin", "stdin", channel, settings)
    path = Path(path)
    state = None
    with contextlib.suppress(OSError, ValueError):  # reported when it is opened
        state = os.stat(path)
        if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
            stream = open(path, "rb")  # noqa: SIM115
            return _open_piped(stream, str(path), path.stem, channel, settings, closing=stream.close)
    return AudioStream(open_decoder(path, state), name=path.stem, path=path, channel=channel, **settings)


def _open_piped(
    stream: Any,
    shown: str,
    name: str,
    channel: Channel,
    settings: dict[str, Any],
    closing: Callable[[], None] | None = None,
) -> AudioStream:
    piped = Piped(stream, shown)

    def close() -> None:
        piped.close()
        if closing is not None:
            closing()

    return AudioStream(piped.decoder, name=name, shown=shown, channel=channel, closing=close, **settings)


def _is_rate(thing: object) -> bool:
    return isinstance(thing, (int, float, np.integer, np.floating)) and not isinstance(thing, bool)


def _joined(pieces: Iterator[np.ndarray]) -> np.ndarray:
    parts = list(pieces)
    if not parts:
        return np.zeros(0, dtype=np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _check(mono: np.ndarray, *, level: bool) -> None:
    """Reject samples outside [-1, 1] and NaN or infinite ones, in one pass."""
    if max(float(mono.max()), -float(mono.min())) <= (LOUDEST if level else np.finfo(np.float32).max):
        return
    bad = mono.size - int(np.isfinite(mono).sum())
    if bad:
        raise InputError(
            f"contains {bad} NaN or infinite samples of {mono.size}",
            hint="float samples must be finite and in [-1, 1]",
        )
    raise InputError(
        f"contains samples up to {float(np.abs(mono).max()):.0f}; float samples are expected in [-1, 1]",
        hint="divide 16-bit PCM by 32768",
    )
