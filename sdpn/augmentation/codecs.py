"""Speech through a real codec and back, in memory: what calls, web pages and telephones leave of a voice.

ffmpeg's encoders, by PyAV: Opus at the rates of calls and voice messages (RFC 6716), MP3 at those of web
pages and podcasts, AMR at all eight of GSM telephones (3GPP TS 26.071), and the two laws of landlines (ITU-T
G.711). The result is aligned with the input: decoders leave out what the encoder says it added in front, and
AMR's look-ahead of 5 ms, which nobody tells them, is left out here.

Band limits alone (`sdpn.augmentation.bands`) take a small part of the time, but quantise nothing.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.io.resampling import resample
from sdpn.io.samples import scale

CodecName = Literal["opus", "mp3", "amr", "mulaw", "alaw"]


class Codec(NamedTuple):
    """A codec and how it is used.

    Attributes:
        encoder: ffmpeg's name of the encoder.
        decoder: and of the decoder.
        rate_hz: rate of what is encoded.
        sample_format: ffmpeg's name of the samples that the encoder takes.
        kbit_per_s: rates to draw from, equally likely.
        delay: samples that the decoded speech is late by.
        fast: the encoder's setting of least work. It costs quality that a rate a little lower costs as well.
    """

    encoder: str
    decoder: str
    rate_hz: int
    sample_format: str
    kbit_per_s: tuple[float, ...]
    delay: int = 0
    fast: str | None = None


CODECS: dict[CodecName, Codec] = {
    "opus": Codec("libopus", "opus", 16000, "flt", (6, 8, 10, 12, 16, 20, 24), fast="0"),
    "mp3": Codec("libmp3lame", "mp3float", 16000, "fltp", (16, 24, 32, 40, 48), fast="9"),
    "amr": Codec(
        "libopencore_amrnb", "amrnb", 8000, "s16", (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2), delay=40
    ),
    "mulaw": Codec("pcm_mulaw", "pcm_mulaw", 8000, "s16", (64,)),
    "alaw": Codec("pcm_alaw", "pcm_alaw", 8000, "s16", (64,)),
}

#: Samples at once for codecs without frames of their own.
_BLOCK = 4096

_FULL_SCALE = np.float32(32767)


class Coding(NamedTuple):
    """A codec at a rate.

    Attributes:
        codec: which.
        kbit_per_s: its rate.
    """

    codec: CodecName
    kbit_per_s: float


def draw_coding(names: tuple[CodecName, ...], rng: np.random.Generator) -> Coding:
    """Draw a codec, and one of its rates."""
    name = names[rng.integers(len(names))]
    rates = CODECS[name].kbit_per_s
    return Coding(name, rates[rng.integers(len(rates))])


def check_codecs(names: tuple[CodecName, ...]) -> None:
    """Check that this build of ffmpeg has the encoders.

    Raises:
        InputError: one is missing.
    """
    import av

    for name in names:
        try:
            av.Codec(CODECS[name].encoder, "w")
        except ValueError as error:
            raise InputError(
                f"augmentation.codecs: this build of PyAV cannot encode {name} ({CODECS[name].encoder})",
                hint="install PyAV from PyPI, or leave it out of augmentation.codecs",
            ) from error


def through_codec(wave: np.ndarray, coding: Coding) -> np.ndarray:
    """Encode and decode speech.

    Args:
        wave: (S,) float32, at any level.
        coding: codec and rate.

    Returns:
        (S,) float32, at the same level and in time with ``wave``.
    """
    codec = CODECS[coding.codec]
    peak = np.float32(max(1.0, float(np.abs(wave).max(initial=0.0))))
    sent = resample(wave / peak, RATE_HZ, codec.rate_hz)
    decoded, rate_hz = _decoded(codec, _packets(codec, coding.kbit_per_s, sent))
    delay = codec.delay * rate_hz // codec.rate_hz
    received = resample(decoded[delay:], rate_hz, RATE_HZ)[: len(wave)] * peak
    return received if len(received) == len(wave) else np.pad(received, (0, len(wave) - len(received)))


def _packets(codec: Codec, kbit_per_s: float, wave: np.ndarray) -> tuple[list[Any], bytes | None]:
    """The packets of an encoder, and what its decoder has to be told first."""
    import av

    context: Any = av.CodecContext.create(codec.encoder, "w")
    context.sample_rate = codec.rate_hz
    context.layout = "mono"
    context.format = codec.sample_format
    context.bit_rate = round(1000 * kbit_per_s)
    context.time_base = Fraction(1, codec.rate_hz)
    context.thread_count = 1
    if codec.fast is not None:
        context.options = {"compression_level": codec.fast}
    context.open()
    step = context.frame_size or _BLOCK
    # the last frame is whole, and one more takes what the delay pushes out
    padded = np.zeros(-(-(len(wave) + codec.delay) // step) * step, dtype=np.float32)
    padded[: len(wave)] = wave
    if codec.sample_format == "s16":
        padded = np.rint(np.clip(padded, -1.0, 1.0) * _FULL_SCALE).astype(np.int16)
    packets: list[Any] = []
    for first in range(0, len(padded), step):
        frame = av.AudioFrame.from_ndarray(
            padded[None, first : first + step], format=codec.sample_format, layout="mono"
        )
        frame.sample_rate = codec.rate_hz
        frame.time_base = context.time_base
        frame.pts = first
        packets += context.encode(frame)
    packets += context.encode(None)
    return packets, context.extradata


def _decoded(codec: Codec, encoded: tuple[list[Any], bytes | None]) -> tuple[np.ndarray, int]:
    """What a decoder makes of packets: samples (S',) and their rate."""
    import av

    packets, extradata = encoded
    context: Any = av.CodecContext.create(codec.decoder, "r")
    context.sample_rate = codec.rate_hz
    context.layout = "mono"
    context.thread_count = 1
    if extradata:
        context.extradata = extradata
    frames = [frame for packet in packets for frame in context.decode(packet)]
    return np.concatenate([scale(frame.to_ndarray().reshape(-1)) for frame in frames]), frames[0].sample_rate


def clip_peaks(wave: np.ndarray, share: float) -> np.ndarray:
    """Cut off what exceeds a share of the peak, as a recording does whose level was set too high.

    Args:
        wave: (S,) float32.
        share: of the crop's peak, 0 to 1.

    Returns:
        (S,) float32 at the level that it had below the limit.
    """
    limit = np.float32(share * float(np.abs(wave).max(initial=0.0)))
    clipped: np.ndarray = np.clip(wave, -limit, limit)
    return clipped
