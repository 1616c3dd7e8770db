"""The local level of a stream, from what has been heard so far.

`sdpn.diarization.level.levelled` looks a minute ahead, which a live stream cannot. Here the surroundings are
the last minute, and the neighbourhood the last three seconds. So the first word after a loud sound is heard
at the level of that sound for up to three seconds.

Shapes: S samples, T frames.
"""

from __future__ import annotations

import numpy as np

from sdpn.diarization.level import (
    AROUND_FRAMES,
    AROUND_PERCENTILE,
    NEAR_FRAMES,
    NEAR_PERCENTILE,
    Levelled,
    frame_rms,
)

#: The surroundings are never taken to be quieter than this, -60 dB relative to full scale: until somebody
#: speaks, they are the noise of the microphone.
_LEAST = 10 ** (-60 / 20)


class PastLevels:
    """Measures consecutive pieces of a stream; remembers the levels of a minute."""

    def __init__(self) -> None:
        self._rms_T = np.zeros(0)

    def __call__(self, wave_S: np.ndarray) -> Levelled:
        """The next samples, whole frames but at the end, with their levels."""
        rms_T = frame_rms(wave_S)
        self._rms_T = np.concatenate([self._rms_T, rms_T])[-AROUND_FRAMES:]
        sounding = self._rms_T[self._rms_T > 0]
        around = max(float(np.percentile(sounding, AROUND_PERCENTILE)), _LEAST) if len(sounding) else 0.0
        near = around
        if len(self._rms_T) >= NEAR_FRAMES:
            rank = int(np.ceil(NEAR_PERCENTILE / 100 * NEAR_FRAMES)) - 1
            near = float(np.partition(self._rms_T[-NEAR_FRAMES:], rank)[rank])
        return Levelled(wave_S, rms_T, np.full(len(rms_T), around), np.full(len(rms_T), near))
