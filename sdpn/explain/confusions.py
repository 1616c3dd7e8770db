"""The longest confusions of a diarization: speech given to another speaker, and what the network heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.explain.hearing import Hearing
from sdpn.explain.network import ExplainedNetwork, is_silent
from sdpn.explain.page import PageSection, PageTable
from sdpn.explain.target import Target
from sdpn.explain.utterance import UtteranceExplained, explain_utterance, utterance_section
from sdpn.io import audio as audio_files
from sdpn.io.audio import RATE_HZ
from sdpn.io.rttm import Turn, to_annotation

#: Shorter confusions have no map worth looking at.
_SHORTEST_S = 0.5
#: Seconds of other speech of a speaker that stand for the voice.
_VOICE_S = 60.0


@dataclass(frozen=True, eq=False)
class Confusion:
    """Speech of one speaker that was given to another.

    Attributes:
        start_s: in the recording.
        end_s: in the recording.
        speaker: whose speech it is, in the reference.
        taken_for: whose it was taken for, a speaker of the reference.
        similarity: cosine to the other speech of its own speaker; NaN without any.
        similarity_to_other: cosine to the speech of the speaker that it was taken for; NaN without any.
        explained: what speaks for its own speaker rather than for the other.
    """

    start_s: float
    end_s: float
    speaker: str
    taken_for: str
    similarity: float
    similarity_to_other: float
    explained: UtteranceExplained

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        plain = {key: value for key, value in vars(self).items() if key != "explained"}
        nan = {key: None for key, value in plain.items() if isinstance(value, float) and np.isnan(value)}
        return {**plain, **nan, "explained": self.explained.to_dict()}


def explain_confusions(
    network: ExplainedNetwork,
    audio: Path,
    reference: Sequence[Turn],
    hypothesis: Sequence[Turn],
    *,
    worst: int = 3,
    methods: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Confusion]:
    """Explain the longest confusions of one recording; overlapped speech does not count.

    Args:
        network: the network.
        audio: the recording.
        reference: its true turns.
        hypothesis: those found.
        worst: how many.
        methods: as `sdpn.explain.utterance.explain_utterance`.
        seed: random seed of the masks.

    Raises:
        InputError: the recording cannot be read, or has no reference or no hypothesis.
    """
    if not reference or not hypothesis:
        raise InputError("needs turns of the reference and of the hypothesis", path=audio)
    wave_S = audio_files.read(audio)
    found: list[Confusion] = []
    for start_s, end_s, speaker, other in confused_spans(reference, hypothesis):
        if end_s - start_s < _SHORTEST_S or len(found) == worst:
            break  # the longest come first
        piece_S = wave_S[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
        if is_silent(piece_S):
            continue
        own_D, other_D = (
            _voice(network, wave_S, reference, name, (start_s, end_s)) for name in (speaker, other)
        )
        with torch.no_grad():
            embedding_D = network.embed(network.features(network.first_piece(piece_S)[0]))[0]
        hearing = Hearing(f"{audio.stem} {start_s:.2f} to {end_s:.2f} s", piece_S, network)
        target = _rather(own_D, other_D, speaker, other)
        found.append(
            Confusion(
                start_s,
                end_s,
                speaker,
                other,
                _cosine(embedding_D, own_D),
                _cosine(embedding_D, other_D),
                explain_utterance(network, hearing, target, methods=methods, seed=seed),
            )
        )
    return found


def confused_spans(
    reference: Sequence[Turn], hypothesis: Sequence[Turn]
) -> list[tuple[float, float, str, str]]:
    """Stretches of one speaker that the hypothesis gives to another, the longest first.

    Speakers of the hypothesis are mapped to those of the reference as for the DER.

    Returns:
        (start_s, end_s, speaker, taken for).
    """
    from pyannote.core import Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate
    from pyannote.metrics.errors.identification import IdentificationErrorAnalysis

    truth, guess = to_annotation(reference), to_annotation(hypothesis)
    whole = Timeline([Segment(0, max(turn.onset_s + turn.duration_s for turn in (*reference, *hypothesis)))])
    mapped = guess.rename_labels(DiarizationErrorRate().optimal_mapping(truth, guess, uem=whole))
    names = set(truth.labels())
    spans = []
    for segment, _, label in (
        IdentificationErrorAnalysis().difference(truth, mapped, uem=whole).itertracks(yield_label=True)
    ):
        kind, speaker, other = label
        alone = len(truth.crop(segment).labels()) == 1
        if kind == "confusion" and alone and other in names:
            spans.append((segment.start, segment.end, speaker, other))
    return sorted(spans, key=lambda span: (span[0] - span[1], span[0]))


def confusion_sections(found: Sequence[Confusion]) -> list[PageSection]:
    """The parts of a page about confusions."""
    sections = []
    for one in found:
        hearing = one.explained.hearing
        snr = "unknown" if np.isnan(hearing.snr_db) else f"{hearing.snr_db:.0f} dB"
        rows = [
            ["speaker", one.speaker],
            ["taken for", one.taken_for],
            ["duration", f"{one.end_s - one.start_s:.2f} s"],
            ["SNR", snr],
            [f"cosine to {one.speaker}", f"{one.similarity:.3f}"],
            [f"cosine to {one.taken_for}", f"{one.similarity_to_other:.3f}"],
        ]
        part = utterance_section(one.explained)
        table = PageTable("The confusion", ["", ""], rows)
        sections.append(
            PageSection(
                part.title, part.notes, [table, *part.tables], part.figures, part.sounds, part.warnings
            )
        )
    return sections


def _voice(
    network: ExplainedNetwork,
    wave_S: np.ndarray,
    turns: Sequence[Turn],
    speaker: str,
    but: tuple[float, float],
) -> torch.Tensor | None:
    """The embedding of the other speech of a speaker, alone; None without any."""
    annotation = to_annotation(turns)
    pieces: list[np.ndarray] = []
    for segment in annotation.label_timeline(speaker, copy=True):
        for start_s, end_s in (
            (segment.start, min(segment.end, but[0])),
            (max(segment.start, but[1]), segment.end),
        ):
            if end_s - start_s >= _SHORTEST_S:
                pieces.append(wave_S[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)])
    speech_S = np.concatenate(pieces)[: int(_VOICE_S * RATE_HZ)] if pieces else np.zeros(0, np.float32)
    if is_silent(speech_S):
        return None
    with torch.no_grad():
        return network.embed(network.features(speech_S))[0]


def _rather(
    own_D: torch.Tensor | None, other_D: torch.Tensor | None, speaker: str, other: str
) -> Target | None:
    """How much nearer an embedding is to one voice than to another; None where either is unknown."""
    if own_D is None or other_D is None:
        return None
    direction_D = torch.nn.functional.normalize(own_D, dim=0) - torch.nn.functional.normalize(other_D, dim=0)
    return Target(
        f"{speaker} rather than {other}",
        lambda embedding_BD: torch.nn.functional.normalize(embedding_BD, dim=1) @ direction_D,
    )


def _cosine(embedding_D: torch.Tensor, other_D: torch.Tensor | None) -> float:
    if other_D is None:
        return float("nan")
    return float(torch.nn.functional.cosine_similarity(embedding_D, other_D, dim=0))
