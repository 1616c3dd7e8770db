"""Clips, the units of reading and embedding: whole utterances, parts of long ones, or ranges of windows.

Shapes: S samples, N windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from sdpn.diarization.speech import Segment
from sdpn.diarization.windows import sliding_windows
from sdpn.errors import InputError
from sdpn.io.audio import Channel
from sdpn.io.kaldi import Utterance

#: Maximum length of a clip that is embedded as a whole; a longer utterance is cut into equal parts. Bounds
#: memory; more speech of a speaker hardly changes the embedding.
LONGEST_S = 120.0
#: Maximum number of windows in a clip.
_WINDOWS_AT_ONCE = 64
#: Context on both sides of a clip, so that resampled samples and frames equal those of the whole recording.
_MARGIN_S = 1


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """Sliding windows over every utterance.

    Attributes:
        window_s: window length.
        hop_s: hop between window starts.
    """

    window_s: float
    hop_s: float

    def __str__(self) -> str:
        """Format as `parse_windows` expects."""
        return f"{self.window_s:g}/{self.hop_s:g}"

    def times(self, duration_s: float) -> np.ndarray:
        """Start and end (N, 2) of the windows of an utterance, in seconds from its start.

        The last window is aligned with the end, so that the whole utterance is covered.
        """
        return sliding_windows(
            [Segment(0.0, duration_s)],
            window_s=self.window_s,
            hop_s=self.hop_s,
            min_window_s=0.0,
            duration_s=duration_s,
        ).times_N2


def parse_windows(text: str) -> WindowPlan:
    """Parse ``length/hop`` in seconds.

    Raises:
        InputError: the text is malformed, or the hop exceeds the length.
    """
    length, slash, hop = text.partition("/")
    try:
        plan = WindowPlan(window_s=float(length), hop_s=float(hop if slash else length))
    except ValueError:
        plan = WindowPlan(window_s=math.nan, hop_s=math.nan)
    if not 0.1 <= plan.hop_s <= plan.window_s <= LONGEST_S:
        raise InputError(
            f"--windows {text!r} is not a valid window plan",
            hint="expected length/hop in seconds, such as 1.5/0.75, with "
            f"0.1 <= hop <= length <= {LONGEST_S:g}",
        )
    return plan


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A range of an utterance.

    Attributes:
        start_s: start in the file, in seconds.
        end_s: end in the file; None for the end of the file.
        windows_N2: its windows, in seconds from its start; None to embed it as a whole.
    """

    start_s: float
    end_s: float | None
    windows_N2: np.ndarray | None = None

    def read(self, utterance: Utterance, *, channel: Channel = None) -> np.ndarray:
        """Read its samples (S,), float32, 16 kHz mono.

        Args:
            utterance: the utterance.
            channel: as for `Utterance.read`.

        Raises:
            InputError: the file cannot be read.
        """
        return replace(utterance, start_s=self.start_s, end_s=self.end_s).read(channel=channel)


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """The clips in which an utterance is read.

    Attributes:
        duration_s: duration of the utterance, up to the end of the file.
        clips: clips in chronological order.
    """

    duration_s: float
    clips: Sequence[Clip]


def plan_clips(utterance: Utterance, windows: WindowPlan | None = None, *, whole: bool = False) -> ClipPlan:
    """Divide an utterance into clips, from the header of its file.

    Args:
        utterance: the utterance.
        windows: windows over it; None to embed it as a whole.
        whole: read it as a single clip of any length.

    Raises:
        InputError: the file cannot be read, or ends before the utterance starts.
    """
    file_s = utterance.file_duration_s()
    end_s = file_s if utterance.end_s is None else min(utterance.end_s, file_s)
    duration_s = end_s - utterance.start_s
    if duration_s <= 0:
        raise InputError(f"utterance {utterance.id!r} starts after the end of the file", path=utterance.path)
    if windows is not None:
        return ClipPlan(duration_s=duration_s, clips=_windowed(utterance.start_s, end_s, windows))
    parts = 1 if whole else math.ceil(duration_s / LONGEST_S)
    if parts == 1:
        return ClipPlan(duration_s=duration_s, clips=[Clip(start_s=utterance.start_s, end_s=utterance.end_s)])
    edges = np.linspace(utterance.start_s, end_s, parts + 1).tolist()
    clips = [Clip(start_s=start, end_s=end) for start, end in pairwise(edges)]
    return ClipPlan(duration_s=duration_s, clips=clips)


def _windowed(start_s: float, end_s: float, plan: WindowPlan) -> list[Clip]:
    times_N2 = plan.times(end_s - start_s)
    at_once = min(_WINDOWS_AT_ONCE, max(1, int(LONGEST_S / plan.hop_s)))
    clips = []
    for first in range(0, len(times_N2), at_once):
        block_N2 = times_N2[first : first + at_once]
        # At whole seconds from the start, the grids of resampling and of frames coincide.
        lead_s = max(0, int(block_N2[0, 0]) - _MARGIN_S)
        last_s = start_s + math.ceil(block_N2[-1, 1]) + _MARGIN_S
        clips.append(
            Clip(start_s=start_s + lead_s, end_s=min(last_s, end_s), windows_N2=block_N2 - float(lead_s))
        )
    return clips
