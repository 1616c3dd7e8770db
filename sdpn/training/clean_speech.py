"""Where the speech is in every utterance of the training data: found once, and kept beside the experiment.

Conversations are simulated from phrases (`sdpn.simulation.simulate.find_phrases`), and their ends are the
truth that a segmentation network learns. ``EXP/speech`` holds one file for every thousand utterances, so that
an interrupted search goes on where it was.

Shapes: N utterances, P phrases.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from sdpn.diarization.vad import detect_speech
from sdpn.errors import InputError
from sdpn.io.arrays import read_npz
from sdpn.io.atomic import atomic_path
from sdpn.io.kaldi import Utterance
from sdpn.io.parsing import parsing
from sdpn.progress import Report, unreported
from sdpn.simulation.manifest import SourceFile
from sdpn.simulation.simulate import Speech, find_phrases

_log = logging.getLogger(__name__)

#: Utterances of a file.
_BLOCK = 1000


@dataclass(frozen=True)
class CleanSpeech:
    """The phrases of all utterances.

    Attributes:
        span_P2: first sample of each phrase and the one after its last, utterance by utterance.
        first_N: index of the first phrase of each utterance, and at the end the number of all: (N + 1,).
        power_N: mean power of the phrases of each utterance; 0 without speech.
    """

    span_P2: np.ndarray
    first_N: np.ndarray
    power_N: np.ndarray

    def of(self, index: int) -> Speech:
        """The speech of an utterance, whose file goes by its index."""
        spans = self.span_P2[self.first_N[index] : self.first_N[index + 1]].tolist()
        phrases = tuple((start, end) for start, end in spans)
        return Speech(SourceFile(str(index), ""), phrases, float(self.power_N[index]))

    @property
    def digest(self) -> str:
        """Identifies the phrases."""
        return hashlib.sha256(self.span_P2.tobytes() + self.first_N.tobytes()).hexdigest()[:16]


def find_clean_speech(
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    channel: int | None,
    on_progress: Report = unreported,
) -> CleanSpeech:
    """Find the speech of utterances, or read what was found before.

    Args:
        utterances: the training data. One that cannot be read counts as one without speech.
        folder: where the results are kept.
        channel: channel of multichannel files; None averages them.
        on_progress: called with (stage, done, total).

    Raises:
        InputError: a result cannot be written or is damaged.
    """
    blocks = []
    for start in range(0, len(utterances), _BLOCK):
        block = [utterances[index] for index in range(start, min(start + _BLOCK, len(utterances)))]
        path = folder / f"{start // _BLOCK:05d}.npz"
        signature = _signature(block, channel)
        found = _read(path, signature)
        if found is None:
            found = []
            for number, utterance in enumerate(block):
                on_progress("finding speech", start + number, len(utterances))
                found.append(_phrases(utterance, channel))
            _write(path, signature, found)
        blocks.extend(found)
    counts = [len(spans) for spans, _ in blocks]
    return CleanSpeech(
        np.array([span for spans, _ in blocks for span in spans], dtype=np.int64).reshape(-1, 2),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array([power for _, power in blocks], dtype=np.float64),
    )


#: The phrases of an utterance and their power.
_Found = tuple[list[tuple[int, int]], float]


def _phrases(utterance: Utterance, channel: int | None) -> _Found:
    try:
        wave_S = utterance.read(channel=channel)
    except InputError as error:
        _log.warning("skipped: %s", error)
        return [], 0.0
    speech = find_phrases(wave_S, SourceFile("", ""), detect_speech)
    return ([], 0.0) if speech is None else (list(speech.phrases), speech.power)


def _signature(block: Sequence[Utterance], channel: int | None) -> str:
    lines = [f"{each.id} {each.path} {each.start_s} {each.end_s} {each.channel}" for each in block]
    return hashlib.sha256("\n".join([str(channel), *lines]).encode()).hexdigest()


def _read(path: Path, signature: str) -> list[_Found] | None:
    """What a file holds; None if there is none, or that of other utterances."""
    if not path.is_file():
        return None
    with parsing(path, "is damaged", hint="remove it"):
        arrays = read_npz(path)
        if str(arrays["signature"]) != signature:
            return None
        edges = np.concatenate([[0], np.cumsum(arrays["counts"])]).tolist()
        spans = [(int(start), int(end)) for start, end in arrays["spans"]]
        return [
            (spans[first:last], float(power))
            for (first, last), power in zip(pairwise(edges), arrays["power"], strict=True)
        ]


def _write(path: Path, signature: str, found: Sequence[_Found]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            signature=np.array(signature),
            counts=np.array([len(spans) for spans, _ in found]),
            spans=np.array([span for spans, _ in found for span in spans], dtype=np.int64).reshape(-1, 2),
            power=np.array([power for _, power in found]),
        )
