"""A recording after the part of a diarization that takes long: its windows and their embeddings.

Shapes: N windows, D embedding dimensions, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sdpn.diarization.local_speech import LocalSpeech, SegmentationConfig
from sdpn.diarization.speech import Segment
from sdpn.diarization.windows import Windows


@dataclass(frozen=True, kw_only=True)
class EmbeddedRecording:
    """The part of a diarization that does not depend on the clustering.

    Attributes:
        recording: its name, the ``uri`` of its annotations.
        path: the file, if it came from one.
        channel: its channel, counted from 0, if only that one was read.
        duration_s: its length in seconds.
        speech: segments of speech, in order of time.
        max_pause_s: longest pause within a turn.
        windows: windows over the speech.
        emb_ND: one embedding per window.
        local: what a segmentation network heard; None without one.
        segmentation: its settings.
        level_db_T: level of each frame of 32 ms, int8, in dB below full scale (`frame_levels`); None where it
            is not known.
    """

    recording: str
    path: Path | None
    duration_s: float
    speech: list[Segment]
    max_pause_s: float
    windows: Windows
    emb_ND: np.ndarray
    channel: int | None = None
    local: LocalSpeech | None = None
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    level_db_T: np.ndarray | None = None
