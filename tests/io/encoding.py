"""Files of formats that soundfile does not write, made with PyAV's encoders."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def speechlike(rate_hz: int, duration_s: float, channels: int = 1) -> np.ndarray:
    """(channels, samples) float32: tones whose pitch and level wander, so that no stretch is like another."""
    times_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    phase = 2 * np.pi * (300 * times_s + 40 * np.sin(0.7 * times_s))
    noise = np.random.default_rng(0).standard_normal(len(times_s)) * 0.02
    level = 0.3 + 0.2 * np.sin(2.3 * times_s)
    wave = level * (np.sin(phase) + 0.4 * np.sin(3 * phase)) * 0.6 + noise
    return np.stack([wave * (1 - 0.1 * channel) for channel in range(channels)]).astype(np.float32)


def encode(
    path: Path,
    codec: str,
    wave_CS: np.ndarray,
    rate_hz: int,
    *,
    container: str | None = None,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    bit_rate: int | None = None,
) -> None:
    """Encode (channels, samples) float32."""
    layout = _LAYOUTS[len(wave_CS)]
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate_hz, layout=layout, options=codec_options or {})
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        for first in range(0, wave_CS.shape[1], 8192):
            part = np.ascontiguousarray(wave_CS[:, first : first + 8192])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate = rate_hz
            frame.pts = first
            frame.time_base = Fraction(1, rate_hz)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
