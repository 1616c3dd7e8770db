"""What a stream holds in memory stays bounded: fifty minutes of two people, without detector and network."""

from __future__ import annotations

import numpy as np

from sdpn.diarization.speech import Segment
from sdpn.diarization.windows import Windows
from sdpn.streaming.diarizer import StreamingConfig, StreamingDiarizer
from sdpn.streaming.events import StreamEnds
from sdpn.streaming.listener import Heard, Listener
from sdpn.streaming.online_clustering import OnlineConfig
from tests.diarization.test_pipeline import HumEmbedder

RATE_HZ, TURN_S = 16000, 1.5


class TwoPeople(Listener):
    """One segment of 1.5 s, with its one window, in every tick of 2 s; ten of them are one person's."""

    number = 0

    def push(self, tick_S: np.ndarray) -> Heard:  # noqa: ARG002
        self._num_samples += 2 * RATE_HZ
        start_s = 2.0 * self.number
        segment = Segment(start_s, start_s + TURN_S)
        voice_D = np.random.default_rng(self.number // 10 % 2).normal(size=32)
        noise_D = np.random.default_rng(self.number).normal(size=32)
        self.number += 1
        windows = Windows(times_N2=np.array([segment]), segment_N=np.array([self.number - 1]))
        embedding_D = (voice_D + 0.5 * noise_D).astype(np.float32)
        return Heard([segment], None, self.heard_s, windows, embedding_D[None])


def test_memory_is_bounded_and_the_end_is_whole() -> None:
    online = OnlineConfig(first_s=30.0, every_s=300.0, recent=40, older=20)
    config = StreamingConfig(keep_windows=1, online=online)  # one block: 1,024 windows
    diarizer = StreamingDiarizer(HumEmbedder(), config=config)
    diarizer._listener = TwoPeople(HumEmbedder(), config, start_s=0.0)
    tick = np.zeros(diarizer.tick, dtype=np.int16)
    most_turns = most_windows = most_segments = 0
    for _ in range(1500):
        diarizer.push(tick)
        most_turns = max(most_turns, len(diarizer.reported), len(diarizer.relabelled))
        most_windows = max(most_windows, diarizer._online.num_in_memory)
        most_segments = max(most_segments, len(diarizer._speech))
    assert most_turns <= 1030
    assert most_windows <= 40 + 20 + 2 * 400  # 400 windows between two clusterings
    assert most_segments <= 3
    end = diarizer.finish()[-1]
    assert isinstance(end, StreamEnds)
    assert end.from_s == 2.0 * 1024
    assert end.num_speakers == end.live_speakers == 2
    assert end.changed_s == 0.0
    assert [turn["start_s"] for turn in end.turns] == [2.0 * number for number in range(1024, 1500)]
