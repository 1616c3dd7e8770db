"""Two models, or two checkpoints of a run, side by side: layers, similarities, maps, prototypes.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.explain.checkpoint_model import ExplainedModel
from sdpn.explain.corpus_layers import OUTPUT, layer_statistics
from sdpn.explain.faithfulness import Measured
from sdpn.explain.hearing import hear
from sdpn.explain.layers import chosen_layers
from sdpn.explain.methods import DEFAULT_METHODS, RelevanceMap, make_map
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.page import PageFigure, PageSection, PageTable
from sdpn.explain.pictures import draw_maps, draw_similarity
from sdpn.explain.prototypes import PrototypesExplained, explain_prototypes, prototype_sections
from sdpn.explain.rank_correlation import map_agreement, spearman
from sdpn.explain.similarity_of_layers import cka_table, ranks
from sdpn.explain.target import own_voice
from sdpn.io.kaldi import Utterance

#: Utterances whose maps are compared, and of which maps are shown.
_MAPPED, _SHOWN = 12, 3
#: Fewest utterances that CKA can be estimated of.
_FEWEST = 4


@dataclass(frozen=True, eq=False)
class ModelsCompared:
    """Two models.

    Attributes:
        names: what they are called.
        layers: their layers, from the features to the embedding.
        cka: similarity of the first's layers (rows) to the second's (columns).
        ranks: effective rank of every layer of either.
        cosine_agreement: rank correlation of the cosines of all pairs of utterances.
        map_agreement: rank correlation of their maps of the same utterances.
        shown: utterances with both maps.
        prototypes: which moved and whom they won or lost; None unless both have equally many.
        num_utterances: N.
    """

    names: tuple[str, str]
    layers: tuple[list[str], list[str]]
    cka: np.ndarray
    ranks: tuple[dict[str, float], dict[str, float]]
    cosine_agreement: float
    map_agreement: Measured
    shown: list[tuple[Utterance, RelevanceMap, RelevanceMap]]
    prototypes: PrototypesExplained | None
    num_utterances: int

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return {
            "models": list(self.names),
            "layers": list(self.layers),
            "cka": self.cka.round(4).tolist(),
            "effective_rank": list(self.ranks),
            "cosine_agreement": self.cosine_agreement,
            "map_agreement": vars(self.map_agreement),
            "prototypes": None if self.prototypes is None else self.prototypes.to_dict(),
            "utterances": self.num_utterances,
        }


def compare_models(
    first: ExplainedModel,
    second: ExplainedModel,
    utterances: Sequence[Utterance],
    *,
    data: Path | None = None,
    layers: Sequence[str] | None = None,
    method: str = DEFAULT_METHODS[0],
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ModelsCompared:
    """Compare two models on the same utterances.

    Args:
        first: a model, such as an early checkpoint.
        second: another, such as a later one.
        utterances: at least four.
        data: their data directory, for its labels.
        layers: names of layers that both have; None: the main ones of each.
        method: of the maps.
        on_progress: called with (done, total).

    Raises:
        InputError: there are too few utterances, or a layer does not exist.
    """
    networks = [ExplainedNetwork(model.embedder) for model in (first, second)]
    names = [chosen_layers(network.encoder, layers) for network in networks]
    done = 0

    def step(*_: int) -> None:
        nonlocal done
        done += 1
        on_progress(done, 2 * len(utterances))

    found = [
        layer_statistics(network, utterances, own, on_progress=step)
        for network, own in zip(networks, names, strict=True)
    ]
    if len(found[0].utterances) < _FEWEST:
        raise InputError(f"needs at least {_FEWEST} utterances, found {len(found[0].utterances)}")
    alike: list[float] = []
    shown: list[tuple[Utterance, RelevanceMap, RelevanceMap]] = []
    for utterance in found[0].utterances[:_MAPPED]:
        maps = []
        for network in networks:
            hearing = hear(network, utterance)
            with torch.no_grad():
                target = own_voice(network.embed(network.features(network.first_piece(hearing.wave_S)[0]))[0])
            maps.append(make_map(network, target, hearing.wave_S, method))
        alike.append(map_agreement(maps[0], maps[1]))
        if len(shown) < _SHOWN:
            shown.append((utterance, maps[0], maps[1]))
    prototypes = None
    sizes = [None if one.pretraining is None else one.pretraining.prototypes.shape for one in (first, second)]
    if sizes[0] is not None and sizes[0] == sizes[1]:
        prototypes = explain_prototypes(first, utterances, data=data, against=second)
    return ModelsCompared(
        (first.name, second.name),
        (list(found[0].rows), list(found[1].rows)),
        cka_table(found[0].rows, found[1].rows),
        (ranks(found[0].rows), ranks(found[1].rows)),
        _cosine_agreement(found[0].rows[OUTPUT], found[1].rows[OUTPUT]),
        Measured.of(alike),
        shown,
        prototypes,
        len(found[0].utterances),
    )


def _cosine_agreement(first_ND: np.ndarray, second_ND: np.ndarray) -> float:
    above = np.triu_indices(len(first_ND), 1)
    cosines = []
    for rows_ND in (first_ND, second_ND):
        unit_ND = rows_ND / np.maximum(1e-12, np.linalg.norm(rows_ND, axis=1, keepdims=True))
        cosines.append((unit_ND @ unit_ND.T)[above])
    return spearman(cosines[0], cosines[1])


def comparison_sections(
    found: ModelsCompared, models: tuple[ExplainedModel, ExplainedModel]
) -> list[PageSection]:
    """The parts of a page about two models."""
    rank_rows = [
        [f"{name}: {layer}", f"{value:.1f}"]
        for name, each in zip(found.names, found.ranks, strict=True)
        for layer, value in each.items()
    ]
    alike = found.map_agreement
    numbers = PageTable(
        "Numbers",
        ["", "rank correlation"],
        [
            ["cosines of all pairs", f"{found.cosine_agreement:.3f}"],
            [
                f"maps of {found.map_agreement.count} utterances",
                f"{alike.mean:.3f} [{alike.low:.3f}, {alike.high:.3f}]",
            ],
        ],
    )
    layers = PageSection(
        "Layers",
        [f"On {found.num_utterances:,} utterances."],
        [numbers, PageTable("Effective rank", ["layer", "directions"], rank_rows)],
        [
            PageFigure(
                "Similarity of the layers",
                draw_similarity(found.cka, found.layers[0], found.layers[1], names=found.names),
                "Linear CKA of mean and deviation over time, without the bias of few utterances.",
            )
        ],
    )
    figures = []
    for utterance, *maps in found.shown:
        for name, model, one in zip(found.names, models, maps, strict=True):
            hearing = hear(ExplainedNetwork(model.embedder), utterance)
            picture = draw_maps(hearing.log_mel_FT, [one], hearing.pitch, hearing.kinds, one.hop_s)
            figures.append(PageFigure(f"{utterance.id}: {name}", picture))
    sections = [layers, PageSection("The same utterances", (), (), figures)]
    if found.prototypes is not None:
        sections += prototype_sections(models[0], found.prototypes)
    return sections
