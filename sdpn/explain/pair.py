"""Why two utterances are similar, or are not: the map of either towards the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.explain.hearing import Hearing
from sdpn.explain.network import ExplainedNetwork, is_silent
from sdpn.explain.page import PageSection
from sdpn.explain.target import similarity_to
from sdpn.explain.utterance import UtteranceExplained, explain_utterance, utterance_section


@dataclass(frozen=True, eq=False)
class PairExplained:
    """Two utterances.

    Attributes:
        score: cosine of their embeddings.
        first: the first towards the second.
        second: the second towards the first.
    """

    score: float
    first: UtteranceExplained
    second: UtteranceExplained

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return {"score": self.score, "first": self.first.to_dict(), "second": self.second.to_dict()}


def explain_pair(
    network: ExplainedNetwork,
    first: Hearing,
    second: Hearing,
    *,
    methods: Sequence[str] | None = None,
    thorough: bool = False,
    seed: int = 0,
) -> PairExplained:
    """Explain the similarity of two utterances, which may be of one file.

    Args:
        network: the network.
        first: one utterance.
        second: another.
        methods: as `explain_utterance`.
        thorough: as `explain_utterance`.
        seed: as `explain_utterance`.

    Raises:
        InputError: both hold the same samples; or as `explain_utterance`.
    """
    if np.array_equal(first.wave_S, second.wave_S):
        raise InputError(
            f"{first.name} and {second.name} are the same recording: their similarity is 1 whatever the "
            "network hears",
            hint="give two different utterances; of one file, as segments of a data directory",
        )
    with torch.no_grad():
        vectors = [_embedding(network, hearing) for hearing in (first, second)]
    score = float(torch.nn.functional.cosine_similarity(vectors[0], vectors[1], dim=0))
    found = [
        explain_utterance(
            network, hearing, similarity_to(other, name), methods=methods, thorough=thorough, seed=seed
        )
        for hearing, other, name in ((first, vectors[1], second.name), (second, vectors[0], first.name))
    ]
    return PairExplained(score, found[0], found[1])


def _embedding(network: ExplainedNetwork, hearing: Hearing) -> torch.Tensor:
    """The mean embedding of the pieces of an utterance."""
    return torch.stack(
        [
            network.embed(network.features(piece))[0]
            for piece in network.pieces(hearing.wave_S)
            if not is_silent(piece)
        ]
    ).mean(0)


def pair_sections(found: PairExplained) -> list[PageSection]:
    """The parts of a page about a pair."""
    return [utterance_section(one) for one in (found.first, found.second)]
