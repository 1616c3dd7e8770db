"""Recordings from a pipe: decoded on the fly where possible, otherwise copied to a temporary file first."""

from __future__ import annotations

import io
import logging
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from sdpn.errors import InputError
from sdpn.io.decoder_choice import open_decoder
from sdpn.io.decoding import Decoder
from sdpn.io.ffmpeg import FfmpegDecoder
from sdpn.io.riff import UNKNOWN_SIZE, WavLayout, is_wav, wav_layout

logger = logging.getLogger(__name__)

#: Bytes that are read to identify the format.
_PEEK = 4096

#: Bytes at the start of a recording that say that it is one.
_MARK = 12

#: Stateless WAV codecs: PCM, float, A-law, mu-law, and extensible.
_PLAIN = {1, 3, 6, 7, 0xFFFE}


class Piped:
    """A recording read from a stream.

    Lossless formats with all parameters in front are decoded on the fly, in bounded memory: WAV, FLAC and AU.
    Others are copied to a temporary file, so that they give the same samples as a file with these bytes.

    Args:
        stream: the byte stream.
        name: name of the stream, for messages.

    Attributes:
        decoder: decoder of the recording.

    Raises:
        InputError: it is empty, not a binary stream or not audio.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        head = b""
        while len(head) < _PEEK and (more := _read(stream, _PEEK - len(head), name)):
            head += more
        if not head:
            raise InputError("is empty (0 bytes); expected audio", path=name)
        self._name, layout = name, _layout(head)
        joined = self._joined = _Joined(head, stream, name, None if layout is None else _end(layout))
        if _plays_at_once(head):
            self.decoder: Decoder = FfmpegDecoder(
                name,
                stream=joined,  # type: ignore[arg-type]
                promised_s=None if layout is None else layout.promised / layout.bytes_per_s,
            )
            return
        self._folder = tempfile.TemporaryDirectory(prefix="sdpn-")
        spooled = Path(self._folder.name) / "audio"
        try:
            with open(spooled, "wb") as file:
                while data := joined.read(1 << 20):
                    file.write(data)
            self.decoder = open_decoder(spooled)
        except InputError as error:
            self.close()
            raise InputError(error.message, path=name, hint=error.hint) from error
        except OSError as error:
            self.close()
            raise InputError(
                f"cannot be copied to a temporary file ({error.strerror})",
                path=name,
                hint=f"free some space in {tempfile.gettempdir()}, or set TMPDIR to another folder",
            ) from error

    def close(self) -> None:
        """Remove the temporary file; a source that has begun anew, with another header, is reported."""
        if is_wav(self._joined.behind):
            logger.warning(
                "%s: another WAV recording follows the first, and is not read; raw samples (--rate) or FLAC"
                " can go on where their source restarts",
                self._name,
            )
        if self._folder is not None:
            self._folder.cleanup()


class _Joined:
    """The bytes read so far and those that follow: a readable file without ``seek``.

    Attributes:
        behind: the first bytes that were read from ``end`` on.
    """

    def __init__(self, head: bytes, stream: BinaryIO, name: str, end: int | None) -> None:
        self._head = head
        self._stream = stream
        self._name = name
        self._left = end
        self.behind = b""

    def read(self, size: int) -> bytes:
        if self._head:
            part, self._head = self._head[:size], self._head[size:]
        else:
            part = _read(self._stream, size, self._name)
        if self._left is not None:
            self.behind += part[self._left :][: _MARK - len(self.behind)]
            self._left = max(self._left - len(part), 0)
        return part

    def close(self) -> None:
        """Leave the stream open: the caller closes it."""


def _read(stream: Any, size: int, name: str) -> bytes:
    try:
        data = stream.read(size)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error})", path=name) from error
    if not isinstance(data, (bytes, bytearray, type(None))):
        raise InputError("is opened in text mode", path=name, hint='open it with mode "rb"')
    return bytes(data or b"")


def _layout(head: bytes) -> WavLayout | None:
    """Of a WAV file whose header, which ffmpeg ignores where it cannot seek, says how long it is."""
    layout = wav_layout(io.BytesIO(head), 1 << 62) if is_wav(head) else None
    if layout is None or not layout.bytes_per_s or not 0 < layout.promised < UNKNOWN_SIZE:
        return None
    return layout


def _end(layout: WavLayout) -> int:
    """Bytes up to the end of the samples, which begin and end at even ones."""
    return layout.begin + layout.promised + layout.promised % 2


def _plays_at_once(head: bytes) -> bool:
    if is_wav(head):
        return (
            head[:4] == b"RIFF" and head[12:16] == b"fmt " and int.from_bytes(head[20:22], "little") in _PLAIN
        )
    return head.startswith((b"fLaC", b".snd"))
