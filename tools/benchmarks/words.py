"""Speakers of words on simulated conversations whose words are known: WDER and cpWER.

    python tools/benchmarks/confidence.py embed --data corpora --out exp/confidence --part dev --name fast
    python tools/benchmarks/words.py --data corpora --out exp/confidence --name fast

Every phrase of a conversation gets words (drawn from a vocabulary, shared out over its time, since the
corpora have no transcripts), and a recogniser that makes mistakes is simulated: 3 % of the words are
missing, a fifth of those under two speakers too, 4 % are other words, and times are off by 60 ms. WDER is
the share of the recognised words that have another speaker than they should (Shafey et al., Interspeech
2019), of those that have one; cpWER is meeteval's.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import meeteval
import numpy as np
from confidence import conversations, read_examples

from sdpn.clustering.registry import make_clusterer
from sdpn.diarization.outputs import labelled_channels
from sdpn.diarization.pipeline import label_recording
from sdpn.io.audio import RATE_HZ
from sdpn.io.rttm import Turn
from sdpn.simulation.manifest import Conversation
from sdpn.words.attribute import attribute_words
from sdpn.words.transcript import Word
from sdpn.words.write import SpokenText, write_words

#: Usual length of a word, in seconds, and size of the vocabulary.
_WORD_S, _VOCABULARY = 0.32, 800


class SaidWord(NamedTuple):
    """A word that was said."""

    start_s: float
    end_s: float
    text: str
    speaker: str


def main() -> None:
    """Print a row for each way of attributing words."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="of tools/benchmarks/confidence.py")
    parser.add_argument("--part", choices=("train", "dev"), default="dev")
    parser.add_argument("--name", default="fast", help="of the embeddings")
    parser.add_argument("--seed", type=int, default=0, help="of the conversations, as embedded")
    parser.add_argument(
        "--num", type=int, default=2, help="conversations of a corpus and condition, as embedded"
    )
    parser.add_argument("--conditions", nargs="+", default=["dry", "room and noise"])
    parser.add_argument("--min-confidence", type=float, nargs="+", default=[0.0, 0.3, 0.5, 0.7])
    args = parser.parse_args()
    drawn = conversations(args.data, args.out, args.part, args.num, args.seed)
    lines = {line.recording: line for *_, line in drawn}
    for condition in args.conditions:
        examples = [
            example
            for example in read_examples(args.out, args.part, args.name)
            if example.condition == condition and example.embedded.recording in lines
        ]
        said = {each.embedded.recording: said_words(lines[each.embedded.recording]) for each in examples}
        turns = {}
        for each in examples:
            labelled = label_recording(each.embedded, make_clusterer("merging"))
            (channel,) = labelled_channels(each.embedded.recording, [each.embedded], [labelled])
            turns[each.embedded.recording] = channel.turns
        reference = {each.embedded.recording: each.turns for each in examples}
        print(f"{condition}, {len(examples)} conversations, {sum(map(len, said.values()))} words")
        print(f"  reference turns: {figures(said, reference, 0.0)}")
        for least in args.min_confidence:
            print(f"  {args.name}, --min-confidence {least:g}: {figures(said, turns, least)}", flush=True)


def said_words(line: Conversation) -> list[SaidWord]:
    """The words of a conversation; a phrase always has the same."""
    found = []
    for phrase in line.phrases:
        utterance = line.utterances[phrase.utterance]
        name = f"{utterance.file.path} {phrase.start}"
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
        start_s, length_s = phrase.onset / RATE_HZ, (phrase.end - phrase.start) / RATE_HZ
        shares = rng.uniform(0.5, 1.5, max(1, round(length_s / _WORD_S)))
        edges = start_s + length_s * np.concatenate([[0.0], np.cumsum(shares) / shares.sum()])
        speaker = line.speakers[utterance.speaker].id
        found += [
            SaidWord(float(begin), float(end), f"w{rng.integers(_VOCABULARY):03d}", speaker)
            for begin, end in itertools.pairwise(edges)
        ]
    return sorted(found)


def recognised(said: Sequence[SaidWord], rng: np.random.Generator) -> list[tuple[Word, SaidWord]]:
    """What a recogniser makes of words, with what each was."""
    found = []
    for word in said:
        crowded = any(
            other.speaker != word.speaker and other.start_s < word.end_s and word.start_s < other.end_s
            for other in said
        )
        if rng.random() < (0.2 if crowded else 0.03):
            continue
        text = f"w{rng.integers(_VOCABULARY):03d}" if rng.random() < 0.04 else word.text
        start_s, end_s = (max(at_s + rng.normal(0.0, 0.06), 0.0) for at_s in (word.start_s, word.end_s))
        heard = Word(start_s=start_s, end_s=max(end_s, start_s + 0.05), text=text, segment=0)
        found.append((heard, word))
    return sorted(found, key=lambda each: each[0].start_s)


def figures(said: dict[str, list[SaidWord]], turns: dict[str, list[Turn]], least_confidence: float) -> str:
    """WDER, words without a speaker, and cpWER."""
    wrong = given = heard = 0
    errors = length = 0
    for recording, words in said.items():
        pairs = recognised(words, np.random.default_rng(7))
        spoken = attribute_words(
            [word for word, _ in pairs], turns[recording], least_confidence=least_confidence
        )
        names = best_names([each.likely for each in spoken], [word.speaker for _, word in pairs])
        heard += len(pairs)
        for each, (_, word) in zip(spoken, pairs, strict=True):
            given += each.speaker is not None
            wrong += each.speaker is not None and names.get(each.speaker) != word.speaker
        with tempfile.TemporaryDirectory() as folder:
            text = SpokenText(recording=recording, words=spoken, details={})
            hypothesis = write_words(text, Path(folder), ["stm"])["stm"]
            reference = Path(folder) / "reference.stm"
            reference.write_text(
                "".join(
                    f"{recording} 1 {word.speaker} {word.start_s:.3f} {word.end_s:.3f} {word.text}\n"
                    for word in words
                )
            )
            rate = meeteval.wer.combine_error_rates(*meeteval.wer.cpwer(reference, hypothesis).values())
        errors, length = errors + rate.errors, length + rate.length
    return (
        f"WDER {100 * wrong / max(given, 1):.1f} %, without a speaker {100 * (1 - given / heard):.1f} %, "
        f"cpWER {100 * errors / length:.1f} %"
    )


def best_names(labels: Sequence[str | None], speakers: Sequence[str]) -> dict[str, str]:
    """The speaker that each label stands for: one to one, with the most words."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = sorted({label for label in labels if label is not None}), sorted(set(speakers))
    counts = np.zeros((len(rows), len(columns)))
    for label, speaker in zip(labels, speakers, strict=True):
        if label is not None:
            counts[rows.index(label), columns.index(speaker)] += 1
    return {
        rows[row]: columns[column]
        for row, column in zip(*linear_sum_assignment(counts, maximize=True), strict=True)
    }


if __name__ == "__main__":
    main()
