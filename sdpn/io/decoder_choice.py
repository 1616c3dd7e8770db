"""Choice of the decoder of a file by its content, not its name.

libsndfile reads the formats that it decodes completely and seeks exactly; ffmpeg all others.
"""

from __future__ import annotations

import logging
import os
import stat
from functools import lru_cache, partial

import soundfile

from sdpn.errors import InputError
from sdpn.io.containers import bytes_promised, lacks_index
from sdpn.io.decoding import REPAIR, Decoder, TruncatedAudio, truncated
from sdpn.io.ffmpeg import FfmpegDecoder
from sdpn.io.ogg import OggLayout, ogg_layout
from sdpn.io.riff import UNKNOWN_SIZE, WavLayout, mended, wav_layout
from sdpn.io.sndfile import SndfileDecoder, reason
from sdpn.io.windowed_file import WindowedFile

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
        path: the file.
        state: its `os.stat`, if already known.

    Raises:
        InputError: it is missing, empty, not audio, or has no samples.
    """
    try:
        state = os.stat(path) if state is None else state
        if stat.S_ISDIR(state.st_mode):
            raise InputError("is a folder; expected an audio file", path=path)
        head, wav = _beginning(os.fspath(path), state.st_size, state.st_mtime_ns)
    except FileNotFoundError:
        if (entry := archived(path)) is not None:
            return _open_archived(path, *entry)
        raise InputError("no such audio file", path=path) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in its name
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot be read ({why})", path=path) from error
    if not head:
        raise InputError("the audio file is empty (0 bytes)", path=path)
    if head.startswith(b"OggS"):
        return _open_ogg(path, state)
    if wav is not None:
        return _open_wav(path, wav)
    if head.startswith(_SNDFILE) and not _is_endless_flac(head):
        return _open_sndfile(path)
    return _open_other(path, state.st_size)


def archived(path: str | os.PathLike[str]) -> tuple[str, int] | None:
    """Archive and byte offset of ``x.ark:5``, audio inside a Kaldi archive; None for any other name."""
    name, colon, offset = os.fspath(path).rpartition(":")
    return (name, int(offset)) if colon and offset.isdecimal() and os.path.isfile(name) else None


def is_wav(head: bytes) -> bool:
    """Whether a file that begins so is a WAV file."""
    return head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE"


def warn_once(path: str | os.PathLike[str], what: str) -> None:
    """Log a warning about a file once, however often it is opened."""
    key = f"{os.fspath(path)}: {what}"
    if key not in _said:
        _said.add(key)
        _log.warning("%s", key)


def _is_endless_flac(head: bytes) -> bool:
    """Whether a FLAC file was streamed, so that its header does not give its length."""
    return head.startswith(b"fLaC") and not (head[21] & 15 or any(head[22:26])) if len(head) > 25 else False


def _open_sndfile(path: str | os.PathLike[str]) -> Decoder:
    try:
        decoder = SndfileDecoder(path)
    except (soundfile.LibsndfileError, TypeError) as error:
        try:
            return FfmpegDecoder(path)
        except InputError:
            raise _refused(error, path) from error
    return _exact(decoder, path)


def _exact(decoder: SndfileDecoder, path: str | os.PathLike[str]) -> Decoder:
    """A decoder with exact seeking: libsndfile's or, where that is not exact, ffmpeg's."""
    if decoder.is_exact:
        return decoder
    try:
        other = FfmpegDecoder(path)
    except InputError:
        return decoder
    other.damage = decoder.damage
    decoder.close()
    return other


def _open_archived(path: str | os.PathLike[str], archive: str, offset: int) -> Decoder:
    """Audio in archives as written by Kaldi (a WAV file) and kaldiio (any file, preceded by its length)."""
    size = os.path.getsize(archive) - offset
    with open(archive, "rb") as stream:
        stream.seek(offset)
        head = stream.read(14)
    if is_wav(head) and (length := int.from_bytes(head[4:8], "little")) < UNKNOWN_SIZE:
        if length + 8 > size:
            raise truncated(path, size, length + 8)
        size = length + 8
    elif head[:5] == b"AUDIO" and 1 <= head[5] <= 8:
        begin = 6 + head[5]
        held, size = size - begin, int.from_bytes(head[6:begin], "little")
        if size > held:
            raise truncated(path, held, size)
        offset += begin
    if size <= 0:
        raise InputError("there is no audio at this place in the archive", path=path)
    try:
        return SndfileDecoder(path, partial(WindowedFile, archive, offset, size))
    except (soundfile.LibsndfileError, TypeError) as error:
        raise _refused(error, path) from error


def _open_wav(path: str | os.PathLike[str], layout: WavLayout) -> Decoder:
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
            decoder = SndfileDecoder(path, partial(mended, path, layout) if layout.hides else None)
        except (soundfile.LibsndfileError, TypeError) as error:
            raise _refused(error, path) from error
    else:
        decoder = FfmpegDecoder(path, promised_s=0.0)  # known from the chunks
    if layout.is_short:
        decoder.damage = truncated(path, layout.held, layout.promised)
    return decoder


def _open_ogg(path: str | os.PathLike[str], state: os.stat_result) -> Decoder:
    layout = _cached_ogg_layout(os.fspath(path), state.st_size, state.st_mtime_ns)
    codec = next((codec for codec in _OGG_CODECS if layout.codec.startswith(codec)), None)
    decoder: Decoder
    try:
        # without an end, libsndfile fails at the last packet of Opus
        endless_opus = codec == b"OpusHead" and not layout.flagged
        if codec is not None and layout.num_streams == 1 and not endless_opus:
            decoder = SndfileDecoder(path)
        else:
            decoder = FfmpegDecoder(path, chained=layout.num_streams > 1)
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
def _beginning(path: str, size: int, _mtime_ns: int) -> tuple[bytes, WavLayout | None]:
    """First bytes of a file, and the chunks of a WAV file; cached, since a file's crops are read in a row."""
    with open(path, "rb") as stream:
        head = stream.read(_HEAD)
        return head, wav_layout(stream, size) if is_wav(head) else None


@lru_cache(maxsize=4096)
def _cached_ogg_layout(path: str, _size: int, _mtime_ns: int) -> OggLayout:
    return ogg_layout(path)


def _open_other(path: str | os.PathLike[str], size: int) -> Decoder:
    promised = bytes_promised(path)
    try:
        decoder: Decoder = FfmpegDecoder(path)
    except InputError as error:
        if lacks_index(path):
            raise InputError(
                "is truncated or was never finished: its index (moov) is missing",
                path=path,
                hint="copy it again, or repair it with the software that recorded it",
            ) from error
        try:
            return SndfileDecoder(path)
        except soundfile.LibsndfileError:
            raise error from None
        except TypeError as headerless:
            raise _refused(headerless, path) from headerless
    if promised is not None and promised > size:
        decoder.damage = truncated(path, size, promised)
    return decoder


def _refused(error: Exception, path: str | os.PathLike[str]) -> InputError:
    why = reason(error) if isinstance(error, soundfile.LibsndfileError) else "it has no header"
    return InputError(f"is not readable audio ({why})", path=path, hint="convert it to wav or flac")
