"""Speech of a detector and of a segmentation network together.

Shapes: T frames of the detector.
"""

from __future__ import annotations

import numpy as np

from sdpn.diarization.level import FRAME, Levelled
from sdpn.diarization.local_speech import LocalSegmentation, SegmentationConfig
from sdpn.diarization.speech import Segment
from sdpn.diarization.vad import HearsSpeech, SpeechDetector, VadConfig


class SegmentedSpeech:
    """Streaming speech detection by both, with the interface of `sdpn.diarization.vad.SpeechDetector`.

    The network's probability is scaled so that its threshold is the detector's, and the rules for segments
    (hysteresis, shortest pause, padding) apply to the larger, or to the smaller, of the two.

    Args:
        vad: settings of the detector, and of the rules for segments.
        config: settings of the segmentation.
        local: the network, which has to hear every chunk before this.
        network: of the detector, see `sdpn.diarization.vad.SpeechDetector`.
    """

    def __init__(
        self,
        vad: VadConfig,
        config: SegmentationConfig,
        local: LocalSegmentation,
        network: HearsSpeech | None = None,
    ) -> None:
        self._detector = SpeechDetector(vad, network=network)
        self._local, self._rule = local, config.speech
        self._scale = np.float32(vad.threshold / config.speech_threshold)
        self._heard_T = np.zeros(0, dtype=np.float32)  # by the detector, and not decided yet
        self._at = 0  # first of these frames

    def push(self, piece: Levelled) -> list[Segment]:
        """Add the next chunk; returns the segments that are final."""
        hear = self._detector.ignore if self._rule == "segmentation" else self._detector.hear
        self._heard_T = np.concatenate([self._heard_T, hear(piece)])
        # frames whose centre is before the last decided frame of the network
        decided = self._local.first_sample + (self._local.num_decided - 1) * self._local.hop_samples
        return self._decide(int((decided - FRAME / 2) // FRAME) - self._at)

    def finish(self) -> list[Segment]:
        """End the recording, and with it that of the network; returns the last segments."""
        return self._decide(len(self._heard_T)) + self._detector.finish()

    @property
    def growing(self) -> Segment | None:
        """The segment in progress, up to where it is final."""
        return self._detector.growing

    @property
    def undecided_from_s(self) -> float:
        """Speech before this time, in seconds, is final."""
        return self._detector.undecided_from_s

    def _decide(self, count: int) -> list[Segment]:
        count = min(max(0, count), len(self._heard_T))
        heard_T, self._heard_T = self._heard_T[:count], self._heard_T[count:]
        if count and self._local.num_decided:
            centre_T = (self._at + np.arange(count) + 0.5) * FRAME
            frame_T = np.round((centre_T - self._local.first_sample) / self._local.hop_samples).astype(
                np.int64
            )
            local_T = self._scale * self._local.speech(np.clip(frame_T, 0, self._local.num_decided - 1))
            heard_T = np.minimum(heard_T, local_T) if self._rule == "both" else np.maximum(heard_T, local_T)
        self._at += count
        return self._detector.decide(heard_T)
