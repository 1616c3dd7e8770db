"""What the prototypes of a network stand for: their utterances, what these share, and how both move in
training.

Shapes: N utterances, K prototypes, D embedding, E projection, F mel bins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.explain.checkpoint_model import ExplainedModel
from sdpn.explain.hearing import hear
from sdpn.explain.labels import purity, read_labels_of
from sdpn.explain.louder import as_mp3
from sdpn.explain.methods import DEFAULT_METHODS, make_map
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.page import PageFigure, PageSection, PageSound, PageTable
from sdpn.explain.pictures import draw_bars, draw_profile
from sdpn.explain.target import assignments, prototype_assignment
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance
from sdpn.tracking.prototype_statistics import cosine_drift

#: Nearest utterances of a prototype that are shown, prototypes on a page, and shuffles for the purity of
#: chance.
NEAREST = 4
_ON_PAGE = 8
_SHUFFLES = 20
#: Seconds of an utterance that a page plays.
_PLAYED_S = 6.0


@dataclass(frozen=True)
class PrototypeMembers:
    """A prototype and the utterances that are assigned to it.

    Attributes:
        index: its number.
        members: ids of the utterances whose most probable prototype it is, the most probable first.
        nearest: ids of the utterances that are assigned to it with the highest probability, members or not.
        probabilities: of the nearest.
        shared: most frequent value of every label among the members, with its share of those that have one.
    """

    index: int
    members: list[str]
    nearest: list[str]
    probabilities: list[float]
    shared: dict[str, tuple[str, float]]


@dataclass(frozen=True)
class PrototypeMove:
    """A prototype in two checkpoints.

    Attributes:
        index: its number.
        drift: 1 - cosine between them.
        won: ids of utterances that it has in the second only.
        lost: ids of utterances that it has in the first only.
        from_prototypes: where those that it won came from, by prototype.
        to_prototypes: where those that it lost went, by prototype.
    """

    index: int
    drift: float
    won: list[str]
    lost: list[str]
    from_prototypes: dict[int, int]
    to_prototypes: dict[int, int]


@dataclass(frozen=True, eq=False)
class PrototypesExplained:
    """What the prototypes of a model stand for.

    Attributes:
        utterances: all that were assigned, by id.
        prototypes: the prototypes that were asked for, or all that have members, the largest first.
        num_used: prototypes that have members.
        num_prototypes: K.
        purity: by label, of all prototypes with two members or more.
        chance: the same with shuffled labels.
        moves: between two checkpoints, the furthest first; empty without a second one.
    """

    utterances: dict[str, Utterance]
    prototypes: list[PrototypeMembers]
    num_used: int
    num_prototypes: int
    purity: dict[str, float]
    chance: dict[str, float]
    moves: list[PrototypeMove]

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return {
            "prototypes": [vars(one) for one in self.prototypes],
            "used": self.num_used,
            "number": self.num_prototypes,
            "purity": self.purity,
            "purity_of_chance": self.chance,
            "moves": [vars(one) for one in self.moves],
        }


def explain_prototypes(
    model: ExplainedModel,
    utterances: Sequence[Utterance],
    *,
    index: int | None = None,
    data: Path | None = None,
    tables: Sequence[Path] = (),
    against: ExplainedModel | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> PrototypesExplained:
    """Assign utterances to prototypes and see what those of one share.

    Args:
        model: with prototypes.
        utterances: to assign.
        index: the one prototype to describe; None: all that have members.
        data: their data directory, for its labels.
        tables: further tables of labels.
        against: a later state of the same run, to see which prototypes moved and whom they won or lost.
        seed: random seed of the shuffled labels.
        on_progress: called with (done, total) utterances.

    Raises:
        InputError: the model has no prototypes, there is no such one, or the two models have different ones.
    """
    pretraining = model.require_prototypes()
    if index is not None:
        prototype_assignment(pretraining, index)  # refuses one that there is not
    used, log_NK = _assigned(model, utterances, on_progress)
    ids = [utterance.id for utterance in used]
    own_N = log_NK.argmax(1)
    labels = read_labels_of(used, data, tables)
    sizes_K = np.bincount(own_N, minlength=log_NK.shape[1])
    wanted = (
        [index] if index is not None else np.argsort(-sizes_K, kind="stable")[: (sizes_K > 0).sum()].tolist()
    )
    described = [_members(number, ids, own_N, log_NK, labels) for number in wanted]
    rng = np.random.default_rng(seed)
    return PrototypesExplained(
        dict(zip(ids, used, strict=True)),
        described,
        int((sizes_K > 0).sum()),
        log_NK.shape[1],
        {name: _purity(own_N, values) for name, values in labels.items()},
        {
            name: float(np.mean([_purity(own_N, rng.permutation(values)) for _ in range(_SHUFFLES)]))
            for name, values in labels.items()
        },
        [] if against is None else _moves(model, against, used, own_N, on_progress),
    )


def prototype_sections(model: ExplainedModel, found: PrototypesExplained) -> list[PageSection]:
    """The parts of a page about prototypes, with audio of the nearest utterances."""
    network = ExplainedNetwork(model.embedder)
    sections = [_overview(found)]
    if found.moves:
        sections.append(_moves_section(found))
    profiles = _Profiles(network, found.utterances)
    shown = found.prototypes[:_ON_PAGE]
    return sections + [_prototype_section(network, model, found, one, profiles) for one in shown]


def _assigned(
    model: ExplainedModel, utterances: Sequence[Utterance], on_progress: Callable[[int, int], None]
) -> tuple[list[Utterance], np.ndarray]:
    """The utterances that can be embedded, and their log probabilities (N, K)."""
    assign = assignments(model.require_prototypes())
    used, rows = [], []
    for each in embed_corpus(model.embedder, utterances, on_error="skip", on_progress=on_progress):
        used.append(each.utterance)
        rows.append(each.embeddings_ND[0])
    if not used:
        raise InputError("none of the utterances can be embedded")
    with torch.no_grad():
        log_NK = assign(torch.from_numpy(np.stack(rows))).cpu().numpy()
    return used, log_NK


def _members(
    index: int, ids: Sequence[str], own_N: np.ndarray, log_NK: np.ndarray, labels: Mapping[str, np.ndarray]
) -> PrototypeMembers:
    by_probability = np.argsort(-log_NK[:, index], kind="stable")
    members = [at for at in by_probability.tolist() if own_N[at] == index]
    nearest = by_probability[:NEAREST].tolist()
    shared = {}
    for name, values in labels.items():
        known = [str(values[at]) for at in members if values[at]]
        if known:
            most = max(sorted(set(known)), key=known.count)
            shared[name] = (most, known.count(most) / len(known))
    return PrototypeMembers(
        index,
        [ids[at] for at in members],
        [ids[at] for at in nearest],
        np.exp(log_NK[nearest, index]).astype(float).round(4).tolist(),
        shared,
    )


def _purity(own_N: np.ndarray, labels: np.ndarray) -> float:
    """Purity of the prototypes that have two members or more."""
    members: dict[int, list[str]] = {}
    for number, label in zip(own_N.tolist(), labels.tolist(), strict=True):
        if label:
            members.setdefault(number, []).append(label)
    return purity({number: each for number, each in members.items() if len(each) > 1})


def _moves(
    before: ExplainedModel,
    after: ExplainedModel,
    utterances: Sequence[Utterance],
    own_N: np.ndarray,
    on_progress: Callable[[int, int], None],
) -> list[PrototypeMove]:
    first_KE, second_KE = (model.require_prototypes().prototypes.float() for model in (before, after))
    if first_KE.shape != second_KE.shape:
        raise InputError(
            f"the models have {len(first_KE)} and {len(second_KE)} prototypes: they are not of one run",
            path=after.path,
            hint="give two checkpoints of one run",
        )
    used, log_NK = _assigned(after, utterances, on_progress)
    at = {utterance.id: number for utterance, number in zip(utterances, own_N.tolist(), strict=True)}
    then = {utterance.id: number for utterance, number in zip(used, log_NK.argmax(1).tolist(), strict=True)}
    drift_K = cosine_drift(first_KE, second_KE).cpu().numpy()
    moves = []
    for index in np.argsort(-drift_K, kind="stable").tolist():
        won = [name for name, number in then.items() if number == index and at[name] != index]
        lost = [name for name, number in at.items() if number == index and then.get(name, index) != index]
        moves.append(
            PrototypeMove(
                index,
                float(drift_K[index]),
                won,
                lost,
                _counted(at[name] for name in won),
                _counted(then[name] for name in lost),
            )
        )
    return moves


def _counted(numbers: Iterable[int]) -> dict[int, int]:
    return dict(Counter(numbers).most_common())


class _Profiles:
    """Mean spectra of utterances, without that of the recording."""

    def __init__(self, network: ExplainedNetwork, utterances: Mapping[str, Utterance]) -> None:
        self._network, self._utterances = network, utterances
        self._found: dict[str, np.ndarray] = {}
        some = list(utterances)[:: max(1, len(utterances) // 40)]
        self.all_F = self.mean(some)

    def mean(self, names: Sequence[str]) -> np.ndarray:
        """Mean over utterances of the mean log spectrum, whose own mean is 0."""
        for name in names:
            if name not in self._found:
                mean_F = self._network.log_mel(self._utterances[name].read()[: 20 * RATE_HZ]).mean(1)
                self._found[name] = mean_F - mean_F.mean()
        mean: np.ndarray = np.mean([self._found[name] for name in names], axis=0)
        return mean


def _overview(found: PrototypesExplained) -> PageSection:
    rows = [[name, f"{value:.2f}", f"{found.chance[name]:.2f}"] for name, value in found.purity.items()]
    table = PageTable(
        "Purity",
        ["label", "purity", "of shuffled labels"],
        rows,
        "Share of the members of a prototype that have the label of most of them, over prototypes with two "
        "members or more.",
    )
    figures = []
    if rows:
        figures.append(
            PageFigure(
                "Purity by label",
                draw_bars(
                    found.purity, label="purity; the mark is that of shuffled labels", marks=found.chance
                ),
            )
        )
    note = (
        f"{found.num_used:,} of {found.num_prototypes:,} prototypes are the most probable one of at least "
        f"one of {len(found.utterances):,} utterances."
    )
    return PageSection("Prototypes", [note], [table] if rows else [], figures)


def _moves_section(found: PrototypesExplained) -> PageSection:
    rows = []
    for one in found.moves[:20]:
        sources = ", ".join(f"{count} of {number}" for number, count in list(one.from_prototypes.items())[:4])
        sinks = ", ".join(f"{count} to {number}" for number, count in list(one.to_prototypes.items())[:4])
        rows.append(
            [str(one.index), f"{one.drift:.4f}", str(len(one.won)), sources, str(len(one.lost)), sinks]
        )
    moved = sum(len(one.won) for one in found.moves)
    table = PageTable(
        "The twenty that moved most",
        ["prototype", "1 - cosine", "won", "from", "lost", "to"],
        rows,
    )
    note = f"{moved:,} of {len(found.utterances):,} utterances have another prototype in the second model."
    return PageSection("What moved", [note], [table])


def _prototype_section(
    network: ExplainedNetwork,
    model: ExplainedModel,
    found: PrototypesExplained,
    one: PrototypeMembers,
    profiles: _Profiles,
) -> PageSection:
    target = prototype_assignment(model.require_prototypes(), one.index)
    sounds, bands = [], []
    for name, probability in zip(one.nearest, one.probabilities, strict=True):
        hearing = hear(network, found.utterances[name])
        values_FT = make_map(network, target, hearing.wave_S, DEFAULT_METHODS[1]).values_FT
        bands.append(values_FT.sum(1))
        is_member = "member" if name in one.members else "of another prototype"
        wave_S = hearing.wave_S[: int(_PLAYED_S * RATE_HZ)]
        sounds.append(PageSound(f"{name}: probability {probability:.3f}, {is_member}", as_mp3(wave_S)))
    shared = [[name, value, f"{100 * share:.0f} %"] for name, (value, share) in one.shared.items()]
    tables = (
        [PageTable("What its members share", ["label", "most frequent", "share"], shared)] if shared else []
    )
    names = (one.members or one.nearest)[:12]
    figures = [
        PageFigure(
            "Mean spectrum",
            draw_profile(profiles.mean(names), profiles.all_F, title=f"prototype {one.index}"),
            f"Of {len(names)} members, next to that of all utterances.",
        )
    ]
    edges = np.linspace(0, len(bands[0]), 5).astype(int)
    average_F = np.mean(bands, axis=0)
    by_band = {
        f"mel bands {low} to {high - 1}": float(average_F[low:high].sum()) for low, high in pairwise(edges)
    }
    figures.append(
        PageFigure(
            "Average map",
            draw_bars(by_band, label="log probability that is lost when the bands are hidden"),
            "Of the nearest utterances, by occlusion.",
        )
    )
    return PageSection(f"Prototype {one.index}", [f"{len(one.members):,} members."], tables, figures, sounds)
