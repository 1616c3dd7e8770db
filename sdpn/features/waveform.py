"""The raw waveform as features: for networks that compute their own, such as graphs with features inside.

Shapes: B batch, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from sdpn.features.frontend import FrontEnd
from sdpn.io.audio import RATE_HZ


@dataclass(frozen=True, kw_only=True)
class WaveformConfig:
    """Every sample is a frame of one number."""

    kind: ClassVar[str] = "waveform"

    num_mels: int = 1
    window_ms: float = 1000 / RATE_HZ
    hop_ms: float = 1000 / RATE_HZ
    normalisation: Literal["none"] = "none"


class Waveform(FrontEnd):
    """The waveform itself, as (B, 1, S)."""

    def log_mel(self, wave_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Samples as frames; `normalise` hides the padding."""
        return wave_BS.float().unsqueeze(1)
