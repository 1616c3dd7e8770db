"""Choice of the decoder of a file by its content, not its name.

libsndfile reads the formats that it decodes completely and seeks exactly; ffmpeg all others.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache, partial
from typing import Any

import soundfile

from sdpn.errors import InputError
from sdpn.io.containers import bytes_promised, lacks_index
from sdpn.io.decoding import REPAIR, Decoder, TruncatedAudio, truncated
from sdpn.io.ffmpeg import FfmpegDecoder
from sdpn.io.ogg import OggLayout, ogg_layout
from sdpn.io.riff import UNKNOWN_SIZE, WavLayout, is_wav, mended, wav_layout
from sdpn.io.sndfile import SndfileDecoder, reason
from sdpn.io.stored import StoredAudio, locate

_log = logging.getLogger(__name__)

#: Bytes that identify a file.
_HEAD = 32

#: First bytes of the files for which libsndfile is tried first.
_SNDFILE = (b"fLaC", b"FORM", b".snd", b"dns.", b"caff", b"riff", b"RF64", b"BW64", b"NIST")

#: Codecs in Ogg that libsndfile reads, with their clock in Hz; None: the rate of the samples.
_OGG_CODECS = {b"OpusHead": 48000, b"\x01vorbis": None, b"\x7fFLAC": None}

#: Files with a warning already logged.
_said: set[str] = set()


def open_decoder(path: str | os.PathLike[str], state: os.stat_result | None = None) -> Decoder:
    """Open a recording, or raise an error with the problem of the file.

    Args:
        path: the file, or a place in an archive (`sdpn.io.stored`).
        state: its `os.stat`, if already known.

    Raises:
        InputError: it is missing, empty, not audio, or has no samples.
    """
    try:
        source = locate(path, state)
        head, wav = _beginning(source)
    except (OSError, ValueError) as error:  # ValueError: a null byte in its name
        if isinstance(error, InputError):
            raise
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot be read ({why})", path=path) from error
    if not head:
        raise InputError("the audio file is empty (0 bytes)", path=path)
    if head.startswith(b"OggS"):
        return _open_ogg(path, source)
    if wav is not None:
        return _open_wav(path, source, wav)
    if head.startswith(_SNDFILE) and not _is_endless_flac(head):
        return _open_sndfile(path, source)
    return _open_other(path, source)


def warn_once(path: str | os.PathLike[str], what: str) -> None:
    """Log a warning about a file once, however often it is opened."""
    key = f"{os.fspath(path)}: {what}"
    if key not in _said:
        _said.add(key)
        _log.warning("%s", key)


def _is_endless_flac(head: bytes) -> bool:
    """Whether a FLAC file was streamed, so that its header does not give its length."""
    return head.startswith(b"fLaC") and not (head[21] & 15 or any(head[22:26])) if len(head) > 25 else False


def _sndfile(path: str | os.PathLike[str], source: StoredAudio) -> SndfileDecoder:
    return SndfileDecoder(path, source.open if source.is_part else None)  # of a path it reads by itself


def _ffmpeg(path: str | os.PathLike[str], source: StoredAudio, **settings: Any) -> FfmpegDecoder:
    return FfmpegDecoder(path, source=source, **settings)


def _open_sndfile(path: str | os.PathLike[str], source: StoredAudio) -> Decoder:
    try:
        decoder = _sndfile(path, source)
    except (soundfile.LibsndfileError, TypeError) as error:
        try:
            return _ffmpeg(path, source)
        except InputError:
            raise _refused(error, path) from error
    return _exact(decoder, path, source)


def _exact(decoder: SndfileDecoder, path: str | os.PathLike[str], source: StoredAudio) -> Decoder:
    """A decoder with exact seeking: libsndfile's or, where that is not exact, ffmpeg's."""
    if decoder.is_exact:
        return decoder
    try:
        other = _ffmpeg(path, source)
    except InputError:
        return decoder
    other.damage = decoder.damage
    decoder.close()
    return other


def _open_wav(path: str | os.PathLike[str], source: StoredAudio, layout: WavLayout) -> Decoder:
    if layout.is_wrong and not layout.is_short:
        warn_once(
            path,
            "its header does not give its length: read to the end"
            if layout.promised >= UNKNOWN_SIZE or not layout.promised
            else f"its header is wrong by {abs(layout.promised - layout.held)} bytes: read to the end",
        )
    decoder: Decoder
    if layout.plain:
        try:
            decoder = (
                SndfileDecoder(path, partial(mended, source.file, layout, source.begin))
                if layout.hides
                else _sndfile(path, source)
            )
        except (soundfile.LibsndfileError, TypeError) as error:
            raise _refused(error, path) from error
    else:
        decoder = _ffmpeg(path, source, promised_s=0.0)  # known from the chunks
    if layout.is_short:
        decoder.damage = truncated(path, layout.held, layout.promised)
    return decoder


def _open_ogg(path: str | os.PathLike[str], source: StoredAudio) -> Decoder:
    layout = _cached_ogg_layout(source)
    codec = next((codec for codec in _OGG_CODECS if layout.codec.startswith(codec)), None)
    decoder: Decoder
    try:
        # without an end, libsndfile fails at the last packet of Opus
        endless_opus = codec == b"OpusHead" and not layout.flagged
        if codec is not None and layout.num_streams == 1 and not endless_opus:
            decoder = _sndfile(path, source)
        else:
            decoder = _ffmpeg(path, source, chained=layout.num_streams > 1)
    except (soundfile.LibsndfileError, InputError) as error:
        if layout.cut is not None:
            raise TruncatedAudio(
                f"is truncated: {layout.cut} is cut off, and nothing before it can be read",
                path=path,
                hint=REPAIR,
            ) from error
        if isinstance(error, InputError):
            raise
        raise _refused(error, path) from error
    if layout.cut is not None:
        played_s = layout.played / ((codec and _OGG_CODECS[codec]) or decoder.rate_hz)
        decoder.damage = TruncatedAudio(
            f"is truncated: {layout.cut} is cut off"
            + (f", after {played_s:.2f} s" if layout.num_streams == 1 else ""),
            path=path,
            hint=REPAIR,
        )
    elif layout.lost:
        decoder.damage = TruncatedAudio(
            f"is damaged: {layout.lost} bytes between its pages are remnants of other pages",
            path=path,
            hint=REPAIR,
        )
    elif not layout.flagged:
        warn_once(path, "its last page is whole but not marked as the last: read to the end")
    return decoder


@lru_cache(maxsize=4096)
def _beginning(source: StoredAudio) -> tuple[bytes, WavLayout | None]:
    """First bytes of a file, and the chunks of a WAV file; cached, since a file's crops are read in a row."""
    with source.open() as stream:
        head = stream.read(_HEAD)
        return head, wav_layout(stream, source.size) if is_wav(head) else None


@lru_cache(maxsize=4096)
def _cached_ogg_layout(source: StoredAudio) -> OggLayout:
    with source.open() as stream:
        return ogg_layout(stream, source.size)


def _open_other(path: str | os.PathLike[str], source: StoredAudio) -> Decoder:
    with source.open() as stream:
        promised = bytes_promised(stream, source.size)
    try:
        decoder: Decoder = _ffmpeg(path, source)
    except InputError as error:
        with source.open() as stream:
            unfinished = lacks_index(stream, source.size)
        if unfinished:
            raise InputError(
                "is truncated or was never finished: its index (moov) is missing",
                path=path,
                hint="copy it again, or repair it with the software that recorded it",
            ) from error
        try:
            return _sndfile(path, source)
        except soundfile.LibsndfileError:
            raise error from None
        except TypeError as headerless:
            raise _refused(headerless, path) from headerless
    if promised is not None and promised > source.size:
        decoder.damage = truncated(path, source.size, promised)
    return decoder


def _refused(error: Exception, path: str | os.PathLike[str]) -> InputError:
    why = reason(error) if isinstance(error, soundfile.LibsndfileError) else "it has no header"
    return InputError(f"is not readable audio ({why})", path=path, hint="convert it to wav or flac")
