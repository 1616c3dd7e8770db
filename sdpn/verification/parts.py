"""Embeddings of utterances and of their parts, which a back end is trained on.

Shapes: N utterances, P parts of each (twice as many where they are degraded as well), D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance

#: Minimum length of a part: shorter ones carry too little speaker information.
SHORTEST_PART_S = 0.5
#: Utterances that are in memory together.
_AT_ONCE = 32


class Embeds(Protocol):
    """What is needed of a model."""

    def embed(self, audio: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Waveforms to embeddings (N, D)."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Embeddings of utterances and of their parts.

    Attributes:
        ids: of the utterances that were embedded, N.
        whole_ND: their embeddings.
        parts_NPD: those of their parts.
        left_out: utterance -> reason, for those that were excluded.
    """

    ids: list[str]
    whole_ND: np.ndarray
    parts_NPD: np.ndarray
    left_out: dict[str, str]


def embed_parts(
    model: Embeds,
    utterances: Iterable[Utterance],
    *,
    parts: int = 2,
    degrade: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    seed: int = 0,
) -> Parts:
    """Embed utterances whole, and in parts of equal length.

    Args:
        model: what embeds.
        utterances: speech; utterances that are unreadable, silent or too short are excluded.
        parts: of each utterance, at least 2.
        degrade: a condition (`sdpn.augmentation.conditions`); every part is embedded in it as well, each by
            itself, so that noise and rooms count as within-speaker variation.
        seed: of what the condition draws.

    Raises:
        InputError: nothing remains.
    """
    left_out: dict[str, str] = {}
    ids: list[str] = []
    rows: list[np.ndarray] = []
    waves: list[np.ndarray] = []
    rng = np.random.default_rng(seed)

    def cut(wave: np.ndarray) -> list[np.ndarray]:
        clean = np.array_split(wave, parts)
        return clean if degrade is None else [*clean, *(degrade(piece, rng) for piece in clean)]

    def embed_waves() -> None:
        if waves:
            pieces = [piece for wave in waves for piece in (wave, *cut(wave))]
            rows.append(model.embed(pieces, RATE_HZ).reshape(len(waves), len(pieces) // len(waves), -1))
            waves.clear()

    for utterance in utterances:
        try:
            wave = utterance.read()
        except InputError as error:
            left_out[utterance.id] = str(error)
            continue
        if len(wave) < parts * SHORTEST_PART_S * RATE_HZ:
            left_out[utterance.id] = f"{len(wave) / RATE_HZ:.2f} s are too short for {parts} parts"
        elif not all(piece.any() for piece in np.array_split(wave, parts)):
            left_out[utterance.id] = "digital silence"
        else:
            ids.append(utterance.id)
            waves.append(wave)
            if len(waves) == _AT_ONCE:
                embed_waves()
    embed_waves()
    if not rows:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
        raise InputError(f"none of {len(left_out)} utterances can be used ({reasons})")
    all_NKD = np.concatenate(rows)
    return Parts(ids, all_NKD[:, 0], all_NKD[:, 1:], left_out)
