"""Speakers for the words of a transcript: what ``sdpn words`` does."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.formats.turns_file import read_turns
from sdpn.words.attribute import LEAST_CONFIDENCE, REACH_S, attribute_words, check_same_recording
from sdpn.words.transcript import Unit, read_transcript
from sdpn.words.write import SpokenText, find_word_formats, write_words

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WordOptions:
    """How words get speakers.

    Attributes:
        times: what the times of the transcript are counted in.
        recording: which of the recordings of the turns; None where there is one.
        least_confidence: below this a word gets no speaker, in [0, 1].
        reach_s: how far from a turn a word may be.
        formats: what is written, see `sdpn.words.write.WORD_FORMATS`.
    """

    times: Unit = "s"
    recording: str | None = None
    least_confidence: float = LEAST_CONFIDENCE
    reach_s: float = REACH_S
    formats: Sequence[str] = ("json", "txt")

    def __post_init__(self) -> None:
        find_word_formats(self.formats)
        if not 0 <= self.least_confidence <= 1:
            raise InputError(
                f"--min-confidence {self.least_confidence:g} is no probability", hint="expected 0 to 1"
            )


def speakers_of_words(
    asr: Path, turns: Path, out: Path, options: WordOptions = WordOptions()
) -> dict[str, Any]:
    """Attach speakers to the words of a transcript, and write them.

    Args:
        asr: transcript of whisper, whisperX, faster-whisper, whisper.cpp or NeMo (JSON), SRT or WebVTT.
        turns: JSON document of ``sdpn diarize --format json``, or RTTM.
        out: folder of the files.
        options: the options.

    Returns:
        ``recording``, ``files`` by format, ``num_words``, ``unsure`` (words without a speaker), ``estimated``
        (words without times of their own), ``words_of`` (number by speaker).

    Raises:
        InputError: a file cannot be read or written, or the transcript is not of this recording.
    """
    spoken = read_turns(turns, options.recording)
    transcript = read_transcript(asr, unit=options.times, recording=spoken.recording)
    check_same_recording(transcript, spoken, asr=asr, path=turns)
    if transcript.recording is not None and transcript.recording != spoken.recording:
        _log.warning("%s is of %r, and %s of %r", asr, transcript.recording, turns, spoken.recording)
    if transcript.estimated:
        _log.warning(
            "%s: %d of %d words have no times of their own; they share those of their segment, and changes "
            "of speaker within one are only roughly where they should be",
            asr,
            transcript.estimated,
            len(transcript.words),
        )
    if transcript.overlapping > 0.1 * len(transcript.words):
        _log.warning(
            "%s: %d of %d words lie within the word before them, as in transcripts of several channels",
            asr,
            transcript.overlapping,
            len(transcript.words),
        )
    words = attribute_words(
        transcript.words, spoken.turns, least_confidence=options.least_confidence, reach_s=options.reach_s
    )
    counts = Counter(word.speaker for word in words)
    text = SpokenText(
        recording=spoken.recording,
        words=words,
        details={
            "asr": str(asr),
            "turns": str(turns),
            "min_confidence": options.least_confidence,
            "num_words": len(words),
            "unsure": counts[None],
            "estimated": transcript.estimated,
        },
    )
    files = write_words(text, out, options.formats)
    return {
        "recording": spoken.recording,
        "files": {name: str(path) for name, path in files.items()},
        "num_words": len(words),
        "unsure": counts[None],
        "estimated": transcript.estimated,
        "words_of": {speaker: count for speaker, count in counts.items() if speaker is not None},
    }
