"""Hums that stand for speakers, and a segmentation network that hears them perfectly.

The network numbers the pitches of each window anew, in an order that depends on the window, so that its local
speakers have to be named.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RATE_HZ = 16_000
PITCHES_HZ = (200.0, 1000.0, 3000.0)

#: (start, end, pitch) in seconds and Hz.
Hums = Sequence[tuple[float, float, float]]


def hum(hums: Hums, duration_s: float) -> np.ndarray:
    """The sum of hums (S,), float32."""
    time_S = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    wave_S = np.zeros(len(time_S))
    for start_s, end_s, pitch_hz in hums:
        inside = (time_S >= start_s) & (time_S < end_s)
        wave_S[inside] += 0.2 * np.sin(2 * np.pi * pitch_hz * time_S[inside])
    return wave_S.astype(np.float32)


class HumSegmenter:
    """Hears which pitches sound in each frame."""

    num_speakers, max_together = 3, 2
    window_samples, hop_samples, frame_samples = 10 * RATE_HZ, 270, 991

    def __init__(self) -> None:
        self.num_windows = 0
        time = np.arange(self.frame_samples) / RATE_HZ
        taper = np.hanning(self.frame_samples)
        self._bank = np.stack([taper * np.exp(-2j * np.pi * pitch * time) for pitch in PITCHES_HZ], axis=1)

    def activities(self, wave_BS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sure of everything, as a network of `sdpn.diarization.local_speech.SegmentsSpeech`."""
        active, together = [], []
        for wave_S in wave_BS:
            self.num_windows += 1
            assert wave_S.dtype == np.float32 and len(wave_S) <= self.window_samples
            frames = np.lib.stride_tricks.sliding_window_view(wave_S, self.frame_samples)
            energy_TL = np.abs(frames[:: self.hop_samples] @ self._bank)
            sounds_TL = energy_TL > 0.3 * max(float(energy_TL.max()), 5.0)
            count_T = sounds_TL.sum(axis=1)
            active.append(np.roll(sounds_TL, self.num_windows, axis=1).astype(np.float32))
            together.append(np.stack([count_T >= 1, count_T >= 2], axis=1).astype(np.float32))
        return np.stack(active), np.stack(together)
