"""Where a stream comes from: raw PCM on a pipe, a file that is played, a microphone.

Each source yields blocks as they arrive, and None where nothing has arrived for half a second, so that
whoever reads them can stop, or say that the stream stalls.

Shapes: S samples, C channels.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import Channel, open_audio
from sdpn.io.inputs import STDIN
from sdpn.io.samples import MOST_CHANNELS, as_rate

logger = logging.getLogger(__name__)

#: Raw samples by their names in ffmpeg.
SAMPLE_FORMATS = {"s16le": "<i2", "s16be": ">i2", "s32le": "<i4", "f32le": "<f4", "s8": "i1", "u8": "u1"}

#: Nothing has arrived, if this time passes.
_WAIT_S = 0.5

#: Bytes to read at once, at most; blocks of a file, and of a microphone.
_MOST, _FILE_BLOCK_S, _MICROPHONE_BLOCK_S = 1 << 16, 1.0, 0.1

#: First bytes of what is no raw PCM.
_FORMATS = {b"RIFF": "a WAV file", b"fLaC": "a FLAC file", b"OggS": "an Ogg file", b"ID3": "an MP3 file"}


class Arrived(NamedTuple):
    """Samples that have arrived.

    Attributes:
        samples: (S,) or (S, C), floats or PCM.
        rate_hz: their rate.
        lost: whether samples were lost before them.
    """

    samples: np.ndarray
    rate_hz: int
    lost: bool = False


def pcm_blocks(
    stream: BinaryIO,
    *,
    rate_hz: int,
    sample_format: str = "s16le",
    num_channels: int = 1,
    name: str = "stdin",
) -> Iterator[Arrived | None]:
    """Raw PCM from a pipe or a binary file object, as it arrives.

    Args:
        stream: to read from.
        rate_hz: rate of the samples.
        sample_format: one of `SAMPLE_FORMATS`.
        num_channels: channels, interleaved.
        name: name of the stream, for messages.

    Raises:
        InputError: an unknown format or rate, or bytes that are the beginning of an audio file.
    """
    samples = RawSamples(rate_hz=rate_hz, sample_format=sample_format, num_channels=num_channels, name=name)
    for data in _arriving(stream, name):
        if data is None:
            yield None
        elif (block := samples.push(data)) is not None:
            yield Arrived(block, samples.rate_hz)
    if (block := samples.finish()) is not None:
        yield Arrived(block, samples.rate_hz)


class RawSamples:
    """Bytes of raw PCM that arrive in pieces of any length, as samples.

    Args:
        rate_hz: rate of the samples.
        sample_format: one of `SAMPLE_FORMATS`.
        num_channels: channels, interleaved.
        name: name of the stream, for messages.

    Raises:
        InputError: an unknown format, rate or number of channels.
    """

    def __init__(self, *, rate_hz: Any, sample_format: str, num_channels: int, name: str) -> None:
        if sample_format not in SAMPLE_FORMATS:
            raise InputError(
                f"unknown sample format {sample_format!r}", hint=f"one of {', '.join(SAMPLE_FORMATS)}"
            )
        self.rate_hz = as_rate(rate_hz)
        if not 1 <= num_channels <= MOST_CHANNELS:
            raise InputError(f"{num_channels} channels; expected 1 to {MOST_CHANNELS}")
        self._kind = np.dtype(SAMPLE_FORMATS[sample_format])
        self._num_channels, self._name = num_channels, name
        self._rest, self._is_first = b"", True

    def push(self, data: bytes) -> np.ndarray | None:
        """Take the next bytes; returns the samples (S, C) that are whole, or None.

        Raises:
            InputError: the stream begins like an audio file.
        """
        self._rest += data
        if self._is_first and len(self._rest) >= 4:
            self._is_first = False
            for mark, what in _FORMATS.items():
                if self._rest.startswith(mark):
                    raise InputError(
                        f"begins like {what}, not like raw samples",
                        path=self._name,
                        hint="leave --rate out, and its own rate is used",
                    )
        return None if self._is_first else self._whole()

    def finish(self) -> np.ndarray | None:
        """End the stream; returns the samples of one that was too short to be recognised, or None."""
        block = self._whole()
        if self._rest:
            left = len(self._rest)
            bytes_are = "1 byte is" if left == 1 else f"{left} bytes are"
            logger.warning("%s ended within a sample: %s left over", self._name, bytes_are)
        return block

    def _whole(self) -> np.ndarray | None:
        size = self._kind.itemsize * self._num_channels
        whole = len(self._rest) - len(self._rest) % size
        if not whole:
            return None
        block = np.frombuffer(self._rest[:whole], dtype=self._kind).astype(self._kind.newbyteorder("="))
        self._rest = self._rest[whole:]
        return block.reshape(-1, self._num_channels)


def file_blocks(audio: str | os.PathLike[str], *, channel: Channel = None) -> Iterator[Arrived | None]:
    """A recording of any format, played as fast as it is read; ``-`` is one on standard input.

    What breaks off on standard input has ended there, with a warning: its source has gone, and what was heard
    is not in doubt. A file that is truncated can be copied again.

    Raises:
        InputError: as `sdpn.io.audio.open_audio`.
    """
    is_live = Path(audio) == STDIN
    with open_audio(Path(audio), channel=channel, keep_truncated=is_live) as opened:
        for samples in opened.blocks(_FILE_BLOCK_S):
            yield Arrived(samples, opened.rate_hz)


def microphone_blocks(device: str | None = None, *, rate_hz: int = 16000) -> Iterator[Arrived | None]:
    """What a microphone hears, without end.

    Args:
        device: number or (part of) the name of the device, as sounddevice lists them; None for the default.
        rate_hz: rate to record at.

    Raises:
        InputError: sounddevice is not installed, or there is no such device.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio is missing
        raise InputError(
            f"the microphone needs sounddevice ({error})", hint="pip install 'sdpn[microphone]'"
        ) from error
    arrived: queue.Queue[tuple[np.ndarray, bool]] = queue.Queue()

    def take(data: np.ndarray, _frames: int, _time: Any, status: Any) -> None:
        arrived.put((data.copy(), bool(status.input_overflow)))

    number = int(device) if device is not None and device.isdecimal() else device
    try:
        opened = sounddevice.InputStream(
            samplerate=rate_hz,
            channels=1,
            dtype="float32",
            device=number,
            blocksize=round(_MICROPHONE_BLOCK_S * rate_hz),
            callback=take,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise InputError(
            f"the microphone cannot be opened ({error})", hint="python -m sounddevice lists the devices"
        ) from error
    with opened:
        while True:
            try:
                samples, lost = arrived.get(timeout=_WAIT_S)
            except queue.Empty:
                yield None
                continue
            yield Arrived(samples, rate_hz, lost)


def _arriving(stream: BinaryIO, name: str) -> Iterator[bytes | None]:
    """Bytes of a stream as they arrive; None where none do."""
    try:
        number = stream.fileno()
    except (AttributeError, io.UnsupportedOperation):
        while data := stream.read(_MOST):
            yield data
        return
    if os.name == "nt":  # where select knows nothing but sockets
        yield from _arriving_in_a_thread(number, name)
        return
    try:
        while True:
            if not select.select([number], [], [], _WAIT_S)[0]:
                yield None
            elif data := os.read(number, _MOST):
                yield data
            else:
                return
    except OSError as error:
        raise InputError(f"cannot be read ({error})", path=name) from error


def _arriving_in_a_thread(number: int, name: str) -> Iterator[bytes | None]:
    """The same as `_arriving`, of an open file that cannot be asked whether there is something to read."""
    arrived: queue.Queue[bytes | OSError] = queue.Queue(maxsize=1)

    def read() -> None:
        try:
            while data := os.read(number, _MOST):
                arrived.put(data)
            arrived.put(b"")
        except OSError as error:
            arrived.put(error)

    threading.Thread(target=read, name="reads a stream", daemon=True).start()
    while True:
        try:
            data = arrived.get(timeout=_WAIT_S)
        except queue.Empty:
            yield None
            continue
        if isinstance(data, OSError):
            raise InputError(f"cannot be read ({data})", path=name) from data
        if not data:
            return
        yield data
