"""A stretch of a stream without a gap: samples in, speech and the embeddings of its windows out.

The parts are those of the pipeline for files, with the levels of the past only, and every embedding at once.

Shapes: S samples, N windows, D embedding dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sdpn.diarization.embedding import EmbedsWindows, WindowEmbedder
from sdpn.diarization.pipeline import PipelineConfig
from sdpn.diarization.speech import Segment
from sdpn.diarization.vad import SpeechDetector, network_of
from sdpn.diarization.windows import WindowPlanner, Windows, concatenate_windows
from sdpn.io.audio import RATE_HZ
from sdpn.streaming.levels import PastLevels

#: Samples after its end that a window can see: the frames of its features are centred.
_AFTER_S = 0.1


class Heard(NamedTuple):
    """What has become certain with a tick. Times are those of the stream.

    Attributes:
        finished: the next segments of speech; the first may be the one that was growing.
        growing: the segment in progress after those, up to where it is certain.
        undecided_from_s: speech before this is final.
        windows: the next windows with an embedding; segments are counted from the start of the stretch.
        emb_ND: their embeddings.
    """

    finished: list[Segment]
    growing: Segment | None
    undecided_from_s: float
    windows: Windows
    emb_ND: np.ndarray


class Listener:
    """Hears one stretch in bounded memory.

    Args:
        model: embeds windows.
        config: settings of speech detection and windows.
        start_s: time of the stream at which the stretch starts.
    """

    def __init__(self, model: EmbedsWindows, config: PipelineConfig, *, start_s: float) -> None:
        self.start_s = start_s
        self.min_window_s, self.window_s = config.min_window_s, config.window_s
        self._num_samples = 0
        self._levels = PastLevels()
        # a live stream cannot wait: what may be speech, and may not, ends it like silence
        self._detector = SpeechDetector(
            config.vad, undecided_s=config.vad.min_silence_s, network=network_of(model)
        )
        self._planner = WindowPlanner(
            window_s=config.window_s, hop_s=config.hop_s, min_window_s=config.min_window_s
        )
        self._embedder = WindowEmbedder(model, at_once=1)
        self._waiting = concatenate_windows([])

    @property
    def heard_s(self) -> float:
        """Time of the stream up to which it has been heard."""
        return self.start_s + self._num_samples / RATE_HZ

    def push(self, tick_S: np.ndarray) -> Heard:
        """Hear the next samples, whole frames of the detector."""
        self._num_samples += len(tick_S)
        finished, growing = self._detector.push(self._levels(tick_S)), self._detector.growing
        windows = self._planner.push(finished, growing)
        undecided_from_s = self._detector.undecided_from_s
        self._embedder.push(tick_S, windows.times_N2, undecided_from_s - self._planner.reach_s)
        return self._heard(finished, growing, undecided_from_s, windows, self._embedder.taken())

    def finish(self, rest_S: np.ndarray) -> Heard:
        """Hear the last samples, fewer than a tick, and end the stretch."""
        last = self.push(rest_S) if len(rest_S) else None
        finished = self._detector.finish()
        windows = self._planner.push(finished, None)
        heard = self._heard(
            finished, None, self._num_samples / RATE_HZ, windows, self._embedder.finish(windows.times_N2)
        )
        heard.windows.times_N2[:, 1] = np.minimum(heard.windows.times_N2[:, 1], self.heard_s)
        if last is None:
            return heard
        return heard._replace(
            finished=last.finished + heard.finished,
            windows=concatenate_windows([last.windows, heard.windows]),
            emb_ND=np.concatenate([emb_ND for emb_ND in (last.emb_ND, heard.emb_ND) if len(emb_ND)])
            if len(last.emb_ND) + len(heard.emb_ND)
            else heard.emb_ND,
        )

    def embed_until(self, end_s: float, start_s: float) -> tuple[float, float, np.ndarray]:
        """Embed the last window of a segment in progress.

        Args:
            end_s: where its certain part ends.
            start_s: its start.

        Returns:
            start and end of the window, and its embedding (D,).
        """
        end_s = max(min(end_s, self.heard_s - _AFTER_S), self.start_s)
        first_s = max(min(start_s, end_s - self.min_window_s), end_s - self.window_s, self.start_s)
        return first_s, end_s, self._embed(first_s - self.start_s, end_s - self.start_s)

    def _embed(self, start_s: float, end_s: float) -> np.ndarray:
        return self._embedder.now(start_s, end_s)

    def _heard(
        self,
        finished: list[Segment],
        growing: Segment | None,
        undecided_from_s: float,
        windows: Windows,
        emb_ND: np.ndarray,
    ) -> Heard:
        self._waiting = concatenate_windows([self._waiting, windows])
        ready, self._waiting = _split(self._waiting, len(emb_ND))
        return Heard(
            [self._in_stream(segment) for segment in finished],
            None if growing is None else self._in_stream(growing),
            self.start_s + undecided_from_s,
            Windows(times_N2=ready.times_N2 + self.start_s, segment_N=ready.segment_N),
            emb_ND,
        )

    def _in_stream(self, segment: Segment) -> Segment:
        return Segment(segment.start_s + self.start_s, segment.end_s + self.start_s)


def _split(windows: Windows, count: int) -> tuple[Windows, Windows]:
    first, rest = (
        Windows(times_N2=windows.times_N2[part], segment_N=windows.segment_N[part])
        for part in (slice(None, count), slice(count, None))
    )
    return first, rest
