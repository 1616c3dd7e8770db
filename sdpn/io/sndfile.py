"""Decoding by libsndfile: PCM in any container, FLAC, Vorbis and Opus, with exact seeking."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from io import RawIOBase
from typing import BinaryIO

import numpy as np
import soundfile

from sdpn.errors import InputError
from sdpn.io.decoding import Decoder, TruncatedAudio, check_header, truncated
from sdpn.io.riff import UNKNOWN_SIZE

#: Samples (frames times channels) read at once: a damaged header may promise more than fits in memory.
BLOCK = 1 << 22

#: Codecs with exact seeking to a frame.
_SEEKABLE = {
    "PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "VORBIS", "OPUS",
}  # fmt: skip

#: Bits of the samples that FLAC can hold. A-law and mu-law are 14 and 13 bits on a scale of 16.
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "ULAW": 16, "ALAW": 16, "PCM_24": 24}
_SAMPLES = {*_BITS, "PCM_32", "FLOAT", "DOUBLE"}

#: These decoders have state: a sample depends slightly on where decoding started. So that a range is
#: always the same, they start at multiples of 20 s, a second early to have converged by then.
_REMEMBERING = {"OPUS"}
_ANCHOR_S = 20
_LEAD_S = 1

#: Size in the header and actual size, as libsndfile logs it for aiff, w64 and au.
_LOGGED_SIZE = re.compile(r"^ *(?:SSND|riff|Data Size)\s*: (\d+) \(should be (\d+)\)", flags=re.MULTILINE)
#: The same for rf64: frames there, frames promised.
_LOGGED_FRAMES = re.compile(r"Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)")


#: The header of NIST SPHERE, which libsndfile reads without a look at the number of samples in each channel.
_SPHERE_HEADER = 1024
_SPHERE_FRAMES = re.compile(rb"^sample_count -i (\d+)", flags=re.MULTILINE)


class SndfileDecoder(Decoder):
    """A file that libsndfile reads.

    Args:
        path: named in errors.
        opened: function that reopens it from its start; by default opens ``path``.

    Raises:
        soundfile.LibsndfileError, TypeError: libsndfile does not support it (TypeError: it has no header).
        InputError: its header is implausible, or it has no samples.
    """

    def __init__(
        self, path: str | os.PathLike[str], opened: Callable[[], BinaryIO | RawIOBase] | None = None
    ) -> None:
        self._path = path
        self._opened: Callable[[], str | BinaryIO | RawIOBase] = opened or (lambda: os.fspath(path))
        source = self._opened()
        self._source = source
        self._file = soundfile.SoundFile(source)
        self.rate_hz: int = self._file.samplerate
        self.num_channels: int = self._file.channels
        self.damage: TruncatedAudio | None = None
        self.is_float = self._file.subtype in ("FLOAT", "DOUBLE")
        try:
            check_header(self.rate_hz, self.num_channels, path)
            self._find_damage()
            if self._file.frames == 0:
                raise InputError("the audio file contains no samples", path=path)
        except InputError:
            self.close()
            raise
        self.length: int | None = self._file.frames
        self.expected_s: float | None = self._file.frames / self.rate_hz

    @property
    def pcm_bits(self) -> int | None:
        """Bits that hold its samples without a loss, of linear or companded PCM; None of anything else."""
        return _BITS.get(self._file.subtype)

    @property
    def is_lossless(self) -> bool:
        """Whether its samples are stored as such, or as FLAC: a part of them can be stored on its own."""
        return self._file.subtype in _SAMPLES

    @property
    def is_flac(self) -> bool:
        """Whether it is a FLAC file."""
        return bool(self._file.format == "FLAC")

    @property
    def is_exact(self) -> bool:
        """Whether libsndfile seeks exactly in this file."""
        return self._file.subtype in _SEEKABLE

    def num_frames(self) -> int:
        """Its length, from the header."""
        return int(self._file.frames)

    def frames(self, start: int, stop: int | None = None) -> Iterator[np.ndarray]:
        """As `Decoder.frames`."""
        held = self.num_frames()
        stop = held if stop is None else min(stop, held)
        at = start
        try:
            for number, (begin, end) in enumerate(self._parts(start, stop)):
                drop = at - begin
                if number == 0:
                    for piece in self._read(self._file, begin, drop, end - at):
                        at += len(piece)
                        yield piece
                else:  # seeking does not reset the decoder state
                    with soundfile.SoundFile(self._opened()) as fresh:
                        for piece in self._read(fresh, begin, drop, end - at):
                            at += len(piece)
                            yield piece
                if at < end:
                    raise truncated(self._path, at - start, stop - start)
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"cannot be decoded ({reason(error)}): the file is damaged or truncated",
                path=self._path,
                hint="copy or convert it again",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if not isinstance(self._source, str):
            self._source.close()

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """What to read for a range: (where decoding begins, where it ends)."""
        if not self.is_exact:
            yield 0, stop
            return
        if self._file.subtype not in _REMEMBERING:
            yield min(start, stop), stop
            return
        step, lead = _ANCHOR_S * self.rate_hz, _LEAD_S * self.rate_hz
        at = start
        while at < stop:
            anchor = at // step * step
            yield max(0, anchor - lead), min(stop, anchor + step)
            at = anchor + step

    def _read(self, file: soundfile.SoundFile, begin: int, drop: int, keep: int) -> Iterator[np.ndarray]:
        """Up to ``keep`` frames after ``drop`` from ``begin`` on."""
        if begin != file.tell():
            file.seek(begin)
        wanted = drop + keep
        while wanted > 0:
            frames = file.read(min(wanted, BLOCK // file.channels), dtype="float32", always_2d=True)
            if not len(frames):
                return
            wanted -= len(frames)
            kept = frames[drop:]
            drop = max(0, drop - len(frames))
            if len(kept):
                yield kept

    def _find_damage(self) -> None:
        """Detect truncation from libsndfile's log, since it reads truncated files without an error."""
        held = promised = 0
        if match := _LOGGED_SIZE.search(self._file.extra_info):
            promised, held = int(match[1]), int(match[2])
        elif match := _LOGGED_FRAMES.search(self._file.extra_info):
            held, promised = int(match[1]), int(match[2])
        elif self._file.format == "NIST" and (count := _SPHERE_FRAMES.search(self._beginning())):
            held, promised = self.num_frames(), int(count[1])
        if held < promised < UNKNOWN_SIZE:
            self.damage = truncated(self._path, held, promised)

    def _beginning(self) -> bytes:
        """The first bytes of the file, from another opening of it."""
        opened = self._opened()
        with open(opened, "rb") if isinstance(opened, str) else opened as stream:
            return bytes(stream.read(_SPHERE_HEADER) or b"")


def reason(error: soundfile.LibsndfileError) -> str:
    """The error text of libsndfile."""
    return str(error.error_string).strip().removeprefix("Error :").strip().rstrip(".")
