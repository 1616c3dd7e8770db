"""A local segmentation network and what it was trained for: who speaks in each frame of a window of audio."""

from __future__ import annotations

import numpy as np
import torch

from sdpn.models.powerset import membership, reaches
from sdpn.models.pyannet import PyanNet
from sdpn.models.segmentation_net import SegmentationNet
from sdpn.models.weights import weights_digest


class Segmenter:
    """Tells local speakers apart in windows of audio.

    >>> segmenter = load_segmentation("pytorch_model.bin")
    >>> speakers_BTL, together_BTM = segmenter.activities(wave_BS)      # probabilities

    Args:
        network: to powerset classes.
        window_s: length of the windows that it was trained on, in seconds.
        name: for messages and records.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ValueError: windows of that length hold no frame.
    """

    def __init__(
        self, network: PyanNet | SegmentationNet, *, window_s: float, name: str, device: str = "cpu"
    ) -> None:
        config = network.config
        self.network = network.to(device).eval()
        self.device = torch.device(device)
        self.name = name
        self.num_speakers, self.max_together = config.num_speakers, config.max_together
        self.window_samples = round(window_s * 16_000)
        self.hop_samples = config.hop_samples
        self.frame_samples = config.window_samples
        self.num_frames = config.num_frames(self.window_samples)
        if not self.num_frames:
            raise ValueError(f"a window of {window_s} s holds no frame")
        member_CS = membership(config.num_speakers, config.max_together)
        self._member_CS = torch.from_numpy(member_CS).to(self.device)
        self._at_least_CM = torch.from_numpy(reaches(member_CS, config.max_together)).to(self.device)

    @property
    def digest(self) -> str | None:
        """Identifies the weights."""
        return weights_digest(self.network)

    @torch.inference_mode()
    def log_probabilities(self, wave_BS: np.ndarray) -> np.ndarray:
        """Log-probabilities of the powerset classes (B, T, C), float32.

        Args:
            wave_BS: (B, S) float32 at 16 kHz.
        """
        log_p_BTC: torch.Tensor = self.network(torch.from_numpy(wave_BS).to(self.device))
        return log_p_BTC.cpu().numpy()

    @torch.inference_mode()
    def activities(self, wave_BS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Who speaks in each frame, and how many.

        Args:
            wave_BS: (B, S) float32 at 16 kHz, usually ``window_samples`` long.

        Returns:
            the probability that each local speaker speaks (B, T, speakers), and that at least 1, 2, ...
            ``max_together`` speak (B, T, max_together), float32.
        """
        p_BTC = self.network(torch.from_numpy(wave_BS).to(self.device)).exp()
        return (p_BTC @ self._member_CS).cpu().numpy(), (p_BTC @ self._at_least_CM).cpu().numpy()
