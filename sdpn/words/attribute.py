"""Which speaker says a word: the turns that it lies in, and how sure that is.

Shapes: W words, K speakers, T turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.errors import InputError
from sdpn.formats.turns_file import RecordingTurns
from sdpn.io.rttm import Turn
from sdpn.words.transcript import Transcript, Word

#: A word outside of all turns belongs to the nearest within this, in seconds.
REACH_S = 0.5

#: Words whose speaker is less probable get none: below, somebody else, or nobody, is more probable.
LEAST_CONFIDENCE = 0.5

#: What a turn without confidence counts as.
_UNKNOWN = 1.0

#: A transcript may end this much after its recording: recognisers pad.
_BEYOND_S = 3.0

#: From this many words on, it is checked whether they lie where somebody speaks.
_ENOUGH = 30

#: Least agreement of words and turns, Cohen's kappa over tenths of a second, and the share of the words
#: within turns: transcripts of other recordings have about 0, of the same one from 0.3 on.
_LEAST_KAPPA, _LEAST_WITHIN = 0.1, 0.5


@dataclass(frozen=True, kw_only=True)
class SpokenWord:
    """A word and who says it.

    Attributes:
        word: the word.
        speaker: None where it is not sure enough.
        likely: the most probable speaker, also then; None where nobody speaks nearby.
        confidence: probability that ``likely`` is right.
    """

    word: Word
    speaker: str | None
    likely: str | None
    confidence: float


def attribute_words(
    words: Sequence[Word],
    turns: Sequence[Turn],
    *,
    least_confidence: float = LEAST_CONFIDENCE,
    reach_s: float = REACH_S,
) -> list[SpokenWord]:
    """Give words their speakers.

    A word belongs to the speaker whose turns have most of it. Its confidence is that of these turns, times
    the share that they have of all turns' time in it: a word at a change of speakers, or under two at once,
    is less sure. Of speakers with the same share, the one of the word before goes on.

    Args:
        words: in order of time.
        turns: of the same recording.
        least_confidence: below this a word gets no speaker.
        reach_s: how far from a turn a word may be.
    """
    speakers = sorted({turn.speaker for turn in turns})
    shared_WK, sure_WK = _shared(words, turns, speakers)
    found: list[SpokenWord] = []
    before: str | None = None
    for word, shared_K, sure_K in zip(words, shared_WK, sure_WK, strict=True):
        total_s = float(shared_K.sum())
        if total_s > 0:
            most = np.flatnonzero(shared_K >= shared_K.max() - 1e-6)
            best = next((k for k in most if speakers[k] == before), most[0])
            likely: str | None = speakers[best]
            confidence = float(sure_K[best] / total_s)
        else:
            likely, confidence = _nearest(word, turns, reach_s)
        before = likely if likely is not None else before
        speaker = likely if confidence >= least_confidence else None
        found.append(SpokenWord(word=word, speaker=speaker, likely=likely, confidence=round(confidence, 4)))
    return found


def _shared(
    words: Sequence[Word], turns: Sequence[Turn], speakers: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds that each word shares with each speaker, (W, K), and the same times the turns' confidence."""
    shared_WK, sure_WK = np.zeros((2, len(words), len(speakers)))
    if not words or not turns:
        return shared_WK, sure_WK
    start_W, end_W = np.array([(word.start_s, word.end_s) for word in words]).T
    longest_s = float((end_W - start_W).max())
    number = {speaker: index for index, speaker in enumerate(speakers)}
    for turn in turns:
        first, last = np.searchsorted(start_W, [turn.onset_s - longest_s, turn.end_s])
        part = slice(int(first), int(last))
        seconds_W = np.minimum(end_W[part], turn.end_s) - np.maximum(start_W[part], turn.onset_s)
        seconds_W = np.maximum(seconds_W, 0.0)
        sure = _UNKNOWN if turn.confidence is None else turn.confidence
        shared_WK[part, number[turn.speaker]] += seconds_W
        sure_WK[part, number[turn.speaker]] += seconds_W * sure
    return shared_WK, sure_WK


def _nearest(word: Word, turns: Sequence[Turn], reach_s: float) -> tuple[str | None, float]:
    """The speaker of the nearest turn, less probable the farther it is."""
    if not turns:
        return None, 0.0
    apart_T = np.array([max(turn.onset_s - word.end_s, word.start_s - turn.end_s) for turn in turns])
    turn = turns[int(apart_T.argmin())]
    apart_s = float(apart_T.min())
    if apart_s > reach_s:
        return None, 0.0
    sure = _UNKNOWN if turn.confidence is None else turn.confidence
    return turn.speaker, sure * (1.0 - 0.5 * apart_s / max(reach_s, 1e-9))


def check_same_recording(transcript: Transcript, turns: RecordingTurns, *, asr: Path, path: Path) -> None:
    """Refuse a transcript that cannot be of the recording of the turns.

    Raises:
        InputError: its times are in milliseconds, go beyond the end of the recording, or the words lie where
            nobody speaks.
    """
    end_s = turns.duration_s
    if end_s is None:
        end_s = max((turn.end_s for turn in turns.turns), default=0.0) + 30.0  # silence may follow
    last_s = transcript.end_s
    if last_s > 20 * max(end_s, 1.0) and last_s / 1000 <= end_s + _BEYOND_S:
        raise InputError(
            f"its last word ends at {last_s:g} s, and the recording of {path} at {end_s:g} s",
            path=asr,
            hint="its times are in milliseconds: --times ms",
        )
    if last_s > end_s + _BEYOND_S:
        raise InputError(
            f"its last word ends at {last_s:.1f} s, after the end of the recording of {path}, {end_s:.1f} s",
            path=asr,
            hint="is it the transcript of another recording?",
        )
    if len(transcript.words) < _ENOUGH or not turns.turns:
        return
    within, kappa = words_and_turns_agree(transcript.words, turns.turns)
    if within < _LEAST_WITHIN or kappa < _LEAST_KAPPA:
        raise InputError(
            f"its words do not lie where somebody speaks in {path}: {100 * within:.0f} % of their time is "
            f"within turns, and chance-corrected agreement is {kappa:.2f}",
            path=asr,
            hint="is it the transcript of another recording? If it is not, and has only the times of long "
            "segments, let the recogniser write the times of words",
        )


def words_and_turns_agree(words: Sequence[Word], turns: Sequence[Turn]) -> tuple[float, float]:
    """Share of the time of words that is within turns, and Cohen's kappa of both over tenths of a second.

    From the first to the last word or turn. Where either covers nearly everything, kappa says nothing, and
    is 1.
    """
    spans = [[(word.start_s, word.end_s) for word in words], [(turn.onset_s, turn.end_s) for turn in turns]]
    edges = [min(start for side in spans for start, _ in side), max(end for side in spans for _, end in side)]
    num = int((edges[1] - edges[0]) * 10) + 1
    marks = np.zeros((2, num), dtype=bool)
    for row, side in enumerate(spans):
        for start_s, end_s in side:
            first, last = (round((at_s - edges[0]) * 10) for at_s in (start_s, end_s))
            marks[row, first : max(last, first + 1)] = True
    words_T, turns_T = marks
    within = float((words_T & turns_T).sum() / max(words_T.sum(), 1))
    shares = marks.mean(axis=1)
    same = float((words_T == turns_T).mean())
    expected = float(shares[0] * shares[1] + (1 - shares[0]) * (1 - shares[1]))
    covers = bool((shares > 0.93).any())
    return within, 1.0 if covers or expected > 0.97 else (same - expected) / (1 - expected)
