"""Embeddings of utterances and of their parts, for training a back end.

Shapes: N utterances, P parts of each (twice as many with a degradation), D embedding, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sdpn.errors import InputError
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.audio import RATE_HZ, Channel
from sdpn.io.kaldi import Utterance
from sdpn.models.speaker_embedder import SpeakerEmbedder
from sdpn.verification.parts import SHORTEST_PART_S, Parts


def embed_parts(
    model: SpeakerEmbedder,
    utterances: Sequence[Utterance],
    *,
    parts: int = 2,
    degrade: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    seed: int = 0,
    channel: Channel = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Parts:
    """Embed utterances as a whole and in parts of equal length.

    Args:
        model: the model.
        utterances: the utterances; unreadable, silent and too short ones are left out.
        parts: number of parts per utterance, at least 2.
        degrade: a degradation (`sdpn.augmentation.conditions`), drawn separately for every part and for the
            utterance; the degraded ones are embedded as well, so that noise, rooms and channels contribute to
            the within-speaker variability and to the cohort.
        seed: random seed of the degradation.
        channel: channel of multichannel files if the utterance does not specify one; None averages all.
        on_progress: called with (done, total).

    Raises:
        InputError: no utterance can be used.
    """
    left_out: dict[str, str] = {}
    rng = np.random.default_rng(seed)

    def whole_and_parts(wave_S: np.ndarray, _index: int) -> list[np.ndarray]:
        if len(wave_S) < parts * SHORTEST_PART_S * RATE_HZ:
            raise InputError(f"{len(wave_S) / RATE_HZ:.2f} s are too short for {parts} parts")
        clean = np.array_split(wave_S, parts)
        if not all(piece.any() for piece in clean):
            raise InputError("digital silence")
        degraded = [] if degrade is None else [degrade(piece, rng) for piece in (*clean, wave_S)]
        return [wave_S, *clean, *degraded]

    def leave_out(utterance: Utterance, error: InputError) -> None:
        left_out[utterance.id] = str(error)

    embedded = list(
        embed_corpus(
            model,
            utterances,
            pieces=whole_and_parts,
            channel=channel,
            on_error=leave_out,
            on_progress=on_progress,
        )
    )
    if not embedded:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
        raise InputError(f"none of {len(left_out)} utterances can be used ({reasons})")
    rows_NKD = np.stack([each.embeddings_ND for each in embedded])
    degraded_ND = None
    if degrade is not None:
        rows_NKD, degraded_ND = rows_NKD[:, :-1], rows_NKD[:, -1]
    names = [each.utterance.id for each in embedded]
    return Parts(names, rows_NKD[:, 0], rows_NKD[:, 1:], degraded_ND, left_out)
