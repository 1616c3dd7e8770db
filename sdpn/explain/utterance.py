"""What a network hears in one utterance: maps, attention, activations, and numbers that judge them.

Shapes: S samples, F mel bins, T frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from sdpn.explain.adversarial import RADIUS, AdversarialEffect, adversarial_effect
from sdpn.explain.attention import (
    AttentionMap,
    AttentionShares,
    attention_maps,
    attention_shares,
    require_attention,
)
from sdpn.explain.class_activation import layer_activation
from sdpn.explain.faithfulness import MOST_ALIKE, warning_of
from sdpn.explain.hearing import Hearing
from sdpn.explain.layers import chosen_layers
from sdpn.explain.louder import RANGE_DB, as_mp3, louder_where_relevant
from sdpn.explain.masks import FEW_SHARES, MaskTest
from sdpn.explain.methods import DEFAULT_METHODS, METHODS, RelevanceMap, fitting_methods, make_map
from sdpn.explain.network import LONGEST_S, ExplainedNetwork
from sdpn.explain.page import PageFigure, PageSection, PageSound, PageTable
from sdpn.explain.pictures import draw_activations, draw_attention, draw_maps
from sdpn.explain.randomised import randomised
from sdpn.explain.rank_correlation import map_agreement
from sdpn.explain.target import Target, own_voice

#: From this length on only the first method is used unless others are asked for, and a page plays the start
#: only.
_LONG_S = 60.0
#: Noise that a map has to bear, relative to the recording.
_NOISE_DB = 30.0


@dataclass(frozen=True)
class MapFigures:
    """Numbers behind a map.

    Attributes:
        deletion: mean score with the most relevant patches hidden.
        insertion: mean score with the least relevant patches hidden.
        random: mean score with random patches hidden.
        on_speech: share of the positive relevance on speech.
        randomised: rank correlation with the map of random weights; None where it was not asked for.
        stability: rank correlation with the map of the recording with noise at 30 dB; None as above.
        adversarial: effect of adversarial noise; None as above.
    """

    deletion: float
    insertion: float
    random: float
    on_speech: float
    randomised: float | None = None
    stability: float | None = None
    adversarial: AdversarialEffect | None = None

    @property
    def faults(self) -> list[str]:
        """Why the map of this utterance cannot be trusted; empty if nothing speaks against it."""
        found = []
        if self.deletion >= self.random:
            found.append("hiding what it calls relevant lowers the score no more than hiding anything")
        if self.insertion <= self.random:
            found.append("showing what it calls relevant raises the score no more than showing anything")
        if self.randomised is not None and self.randomised > MOST_ALIKE:
            found.append("it is that of random weights")
        return found


@dataclass(frozen=True, eq=False)
class UtteranceExplained:
    """An utterance, its maps and what they rest on.

    Attributes:
        hearing: the utterance.
        target: what is explained.
        score: its value.
        maps: one for each method.
        figures: by method.
        agreement: rank correlation of the maps of every two methods.
        attention: of every module that has one; may be empty.
        shares: of the weight on speech, noise and silence, by module.
        activations: (C, T) by layer that was asked for.
    """

    hearing: Hearing
    target: str
    score: float
    maps: list[RelevanceMap]
    figures: dict[str, MapFigures]
    agreement: dict[tuple[str, str], float]
    attention: list[AttentionMap]
    shares: dict[str, AttentionShares]
    activations: dict[str, np.ndarray] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return {
            "utterance": self.hearing.name,
            "duration_s": self.hearing.duration_s,
            "target": self.target,
            "score": self.score,
            "methods": {
                name: {
                    **{key: value for key, value in vars(found).items() if key != "adversarial"},
                    "adversarial": None if found.adversarial is None else vars(found.adversarial),
                    "kept": METHODS[name].kept,
                    "faults": found.faults,
                }
                for name, found in self.figures.items()
            },
            "agreement": {" ".join(pair): value for pair, value in self.agreement.items()},
            "attention": {layer: vars(shares) for layer, shares in self.shares.items()},
        }


def explain_utterance(
    network: ExplainedNetwork,
    hearing: Hearing,
    target: Target | None = None,
    *,
    methods: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    attention: bool = False,
    thorough: bool = False,
    seed: int = 0,
) -> UtteranceExplained:
    """Explain one utterance.

    Args:
        network: the network.
        hearing: the utterance.
        target: what is explained; None: the direction of its own embedding.
        methods: names in `sdpn.explain.methods.METHODS`; None: the default ones.
        layers: names or numbers of layers whose activations are wanted.
        attention: require attention, which is otherwise shown where there is some.
        thorough: also compare with random weights, with noise and with adversarial noise.
        seed: random seed of masks, weights and noise.

    Raises:
        InputError: no such method or layer, the method does not fit the network, or it has no attention and
            ``attention`` is set.
    """
    first, frames = network.first_piece(hearing.wave_S)
    features_1FT = network.features(first)
    if target is None:
        with torch.no_grad():
            target = own_voice(network.embed(features_1FT)[0])
    wanted = chosen_layers(network.encoder, layers) if layers is not None else []
    activations = {name: layer_activation(network, features_1FT, name) for name in wanted}
    if methods is None:
        default = DEFAULT_METHODS if hearing.duration_s <= _LONG_S else DEFAULT_METHODS[:1]
        names = fitting_methods(network, default)
    else:
        names = list(dict.fromkeys(methods))
    attended = attention_maps(network, features_1FT)
    if attention:
        require_attention(attended)
    maps = {name: make_map(network, target, hearing.wave_S, name) for name in names}
    # of a long recording, the first piece is looked at closely
    masks = MaskTest(network, target, features_1FT, shares=FEW_SHARES, seed=seed)
    figures = {}
    other = randomised(network, seed=seed) if thorough else None
    for name, found in maps.items():
        deletion, insertion, random = masks.curves(found.values_FT[:, frames]).areas
        figures[name] = MapFigures(deletion, insertion, random, _on_speech(found, hearing.kinds))
        if other is not None:
            figures[name] = _closer(figures[name], network, other, target, first, found, frames, seed)
    kinds = hearing.kinds[frames]
    return UtteranceExplained(
        hearing,
        target.name,
        next(iter(maps.values())).score,
        list(maps.values()),
        figures,
        {(one, two): map_agreement(maps[one], maps[two]) for one, two in itertools.combinations(names, 2)},
        attended,
        {found.layer: attention_shares(found.over_time_T, kinds) for found in attended},
        {
            name: activation.flatten(0, 1).float().detach().cpu().numpy()
            for name, activation in activations.items()
        },
    )


def _closer(
    figures: MapFigures,
    network: ExplainedNetwork,
    other: ExplainedNetwork,
    target: Target,
    piece_S: np.ndarray,
    found: RelevanceMap,
    frames: slice,
    seed: int,
) -> MapFigures:
    """Add comparisons with random weights, with noise and with adversarial noise, on the first piece."""
    own = RelevanceMap(found.method, found.target, found.score, found.values_FT[:, frames], found.hop_s)
    with torch.no_grad():
        other_target = own_voice(other.embed(other.features(piece_S))[0])
    redrawn = make_map(other, other_target, piece_S, found.method)
    rng = np.random.default_rng(seed)
    noise_S = rng.standard_normal(len(piece_S)) * np.sqrt((piece_S**2).mean()) * 10 ** (-_NOISE_DB / 20)
    noisy = make_map(network, target, (piece_S + noise_S).astype(np.float32), found.method)
    return replace(
        figures,
        randomised=map_agreement(own, redrawn),
        stability=map_agreement(own, noisy),
        adversarial=adversarial_effect(network, target, network.features(piece_S), found.method, seed=seed),
    )


def _on_speech(found: RelevanceMap, kinds: Sequence[str]) -> float:
    positive_T = np.maximum(found.over_time_T, 0)
    total = float(positive_T.sum())
    return float(positive_T[np.array(kinds) == "speech"].sum()) / total if total else 0.0


def utterance_section(found: UtteranceExplained, title: str | None = None) -> PageSection:
    """The part of a page about an utterance."""
    hearing = found.hearing
    hop_s = hearing.network.hop_s
    figures = [
        PageFigure(
            "Where the evidence lies",
            draw_maps(hearing.log_mel_FT, found.maps, hearing.pitch, hearing.kinds, hop_s),
            "Every map lies over the log-mel picture. Red parts raise the score, blue ones lower it.",
        )
    ]
    tables = [_map_table(found)]
    kinds = hearing.kinds[hearing.network.first_piece(hearing.wave_S)[1]]
    if found.attention:
        figures.append(
            PageFigure(
                "Attention",
                draw_attention(found.attention, kinds, hop_s),
                "Weight of every frame times the number of frames: 1 is an equal share. Coloured lines are "
                "heads, the strip below is speech (green), noise (orange) and silence (grey).",
            )
        )
        tables.append(_attention_table(found))
    figures += [
        PageFigure(f"Activations of {layer}", draw_activations(values_CT, layer, len(kinds) * hop_s))
        for layer, values_CT in found.activations.items()
    ]
    notes = [f"{hearing.duration_s:.2f} s; {found.target}: {found.score:.3f}."]
    if not found.attention:
        notes.append("The network has no attention over time.")
    if hearing.duration_s > LONGEST_S:
        notes.append(
            f"Over {LONGEST_S:.0f} s: explained in equal parts, each by itself; numbers, attention and "
            "activations are those of the first with sound, and the audio is that of the first minute."
        )
    heard = slice(0, int(_LONG_S * 16000))
    louder_S = louder_where_relevant(hearing.wave_S, found.maps[0].over_time_T, hop_s)
    sounds = [
        PageSound("as recorded", as_mp3(hearing.wave_S[heard])),
        PageSound(
            f"relevant parts louder ({METHODS[found.maps[0].method].title}), others up to {RANGE_DB:.0f} dB "
            "quieter",
            as_mp3(louder_S[heard]),
        ),
    ]
    warnings = [
        f"{METHODS[one.method].title} {warning_of(one.method)}."
        for one in found.maps
        if warning_of(one.method)
    ]
    warnings += [
        f"The map of {METHODS[name].title} is not to be trusted here: {'; '.join(figures.faults)}."
        for name, figures in found.figures.items()
        if figures.faults
    ]
    return PageSection(hearing.name if title is None else title, notes, tables, figures, sounds, warnings)


def _map_table(found: UtteranceExplained) -> PageTable:
    header = ["method", "hidden first", "random", "hidden last", "on speech"]
    thorough = any(figures.stability is not None for figures in found.figures.values())
    if thorough:
        header += ["random weights ρ", "with noise ρ", "adversarial score", "random noise", "adversarial ρ"]
    header += [f"ρ with {name}" for name in found.figures]
    rows = []
    for name, figures in found.figures.items():
        row = [
            METHODS[name].title,
            *(f"{value:.3f}" for value in (figures.deletion, figures.random, figures.insertion)),
        ]
        row.append(f"{100 * figures.on_speech:.0f} %")
        if thorough and figures.adversarial is not None:
            effect = figures.adversarial
            row += [
                f"{figures.randomised:.2f}", f"{figures.stability:.2f}", f"{effect.adversarial_score:.3f}",
                f"{effect.random_score:.3f}", f"{effect.adversarial_agreement:.2f}",
            ]  # fmt: skip
        for other in found.figures:
            pair = (name, other) if (name, other) in found.agreement else (other, name)
            row.append("" if other == name else f"{found.agreement[pair]:.2f}")
        rows.append(row)
    reading = (
        "Mean score with a quarter, half and three quarters hidden: below random where the most relevant "
        "parts are hidden first, above it where they are hidden last, or the map is wrong. ρ is the rank "
        "correlation of maps over 0.2 s."
    )
    if thorough:
        reading += f" Adversarial noise changes every log feature by at most {RADIUS}."
    return PageTable("Numbers behind the maps", header, rows, reading)


def _attention_table(found: UtteranceExplained) -> PageTable:
    rows = []
    for layer, shares in found.shares.items():
        rows.append(
            [
                layer or "the network",
                *(
                    f"{100 * shares.weight[kind]:.0f} % ({100 * shares.time[kind]:.0f} %)"
                    for kind in ("speech", "noise", "silence")
                ),
            ]
        )
    return PageTable(
        "Share of the attention (share of the time)", ["module", "speech", "noise", "silence"], rows
    )
