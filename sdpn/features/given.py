"""Features that the data brings along: only normalised, as the front end would.

Shapes: B batch, F mel bins, T frames.
"""

from __future__ import annotations

from torch import Tensor, nn

from sdpn.features.frontend import FrontEnd
from sdpn.features.lengths import mask_of


class GivenFeatures(nn.Module):
    """Log-mel features before normalisation to features.

    Args:
        front_end: whose normalisation is applied.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        self.config = getattr(front_end, "config", None)
        self.num_mels = front_end.num_mels

    def forward(self, mel_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Normalise (B, F, T) over the frames of each utterance; padding becomes zero."""
        return self.front_end.normalise(mel_BFT.float(), mask_of(lengths_B, mel_BFT.shape[-1]))
