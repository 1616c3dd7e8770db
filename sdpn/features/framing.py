"""Where the frames of features lie in a waveform."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Frames at every hop.

    Attributes:
        window_samples: samples in a window.
        hop_samples: samples between frames.
        centred: frame i is centred at sample i * hop and there are 1 + S // hop of them; otherwise frame i
            starts there and only complete windows are used.
    """

    window_samples: int
    hop_samples: int
    centred: bool

    def __post_init__(self) -> None:
        if self.window_samples < 1 or self.hop_samples < 1:
            raise ValueError("window_samples and hop_samples must be positive")

    def num_frames(self, num_samples: int) -> int:
        """Number of frames for ``num_samples`` samples; at least one."""
        if self.centred:
            return 1 + num_samples // self.hop_samples
        return 1 + max(0, num_samples - self.window_samples) // self.hop_samples
