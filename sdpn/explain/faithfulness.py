"""How far to trust the methods that make maps: figures that could have come out badly.

- planted evidence: share of positive relevance in the half where the speaker is (`sdpn.explain.planted`);
- deletion and insertion against random masks (`sdpn.explain.masks`);
- the same with the weights drawn again (`sdpn.explain.randomised`): the map must change;
- agreement between methods, and with the map of the same utterance with a little noise.

Shapes: N pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sdpn.explain.masks import MaskTest
from sdpn.explain.methods import METHODS, RelevanceMap, fitting_methods, make_map
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.planted import PlantedPair, localisation, plant, planted_target
from sdpn.explain.randomised import randomised
from sdpn.explain.rank_correlation import map_agreement
from sdpn.io.kaldi import Utterance
from sdpn.metrics.bootstrap import bootstrap_interval
from sdpn.models.embedder import Embedder

#: Share of positive relevance that a method has to place right, to be kept.
WANTED_SHARE = 0.75
#: Rank correlation with the map of random weights above which a map does not explain what was learned.
MOST_ALIKE = 0.5
#: Signal to noise ratio of the noise that a map has to bear.
_NOISE_DB = 30.0


@dataclass(frozen=True)
class Measured:
    """A mean over pairs with its bootstrap interval (95 %).

    Attributes:
        mean: the mean.
        low: lower end.
        high: upper end.
        count: number of pairs.
    """

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values_N: Sequence[float] | np.ndarray) -> Measured:
        """The mean of values; of a single one the interval is that value."""
        values = np.asarray(values_N, dtype=np.float64)
        interval = bootstrap_interval(values, np.ones(len(values)), resamples=2000)
        mean = float(values.mean())
        if interval is None:
            return cls(mean, mean, mean, len(values))
        return cls(mean, interval.low, interval.high, len(values))


@dataclass(frozen=True)
class MethodFigures:
    """What is known of a method on a model.

    Attributes:
        method: its name.
        localisation: share of positive relevance in the half of the evidence; 0.5 is chance.
        deletion: score with random patches hidden minus that with the most relevant hidden; positive is good.
        insertion: score with the least relevant patches hidden minus that with random ones; positive is good.
        randomised: rank correlation with the map of random weights; near 0 is good.
        randomised_localisation: localisation of that map.
        stability: rank correlation with the map of the utterance with noise at 30 dB.
        agreement: mean rank correlation with the other methods; None of a single one.
    """

    method: str
    localisation: Measured
    deletion: Measured
    insertion: Measured
    randomised: Measured
    randomised_localisation: Measured
    stability: Measured
    agreement: float | None

    @property
    def faults(self) -> list[str]:
        """Why the method cannot be trusted on this model; empty if it can."""
        found = []
        if self.localisation.mean < WANTED_SHARE:
            found.append(
                f"places {self.localisation.mean:.2f} of the evidence right, less than {WANTED_SHARE}"
            )
        if self.deletion.low <= 0:
            found.append("hiding what it calls relevant is no worse than hiding anything")
        if self.insertion.low <= 0:
            found.append("showing what it calls relevant is no better than showing anything")
        if self.randomised.mean > MOST_ALIKE:
            found.append("its map is that of random weights: unfaithful")
        return found


def measure_faithfulness(
    model: Embedder,
    utterances: Sequence[Utterance],
    *,
    methods: Sequence[str] | None = None,
    num_pairs: int = 100,
    num_checked: int = 30,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, MethodFigures]:
    """Measure methods on a model with utterances of several speakers.

    Args:
        model: the model.
        utterances: with speakers.
        methods: names in `sdpn.explain.methods.METHODS`; None: all that fit the network.
        num_pairs: pairs with planted evidence.
        num_checked: pairs for everything else, which costs more; at most ``num_pairs``.
        seed: random seed of pairs, masks, noise and weights.
        on_progress: called with (done, total) pairs.

    Raises:
        InputError: no such method, a file cannot be read, or there are not enough speakers.
    """
    network = ExplainedNetwork(model)
    names = fitting_methods(network, methods)
    other = randomised(network, seed=seed)
    rng = np.random.default_rng(seed)
    series: dict[str, dict[str, list[float]]] = {name: {field: [] for field in _SERIES} for name in names}
    alike: dict[tuple[str, str], list[float]] = {pair: [] for pair in itertools.combinations(names, 2)}
    for done, pair in enumerate(plant(utterances, num_pairs, seed=seed)):
        target = planted_target(network, pair)
        maps = {name: make_map(network, target, pair.wave_S, name) for name in names}
        for name, found in maps.items():
            series[name]["localisation"].append(localisation(found, first=pair.first))
        if done < num_checked:
            for one, two in alike:
                alike[one, two].append(map_agreement(maps[one], maps[two]))
            _check(network, other, pair, maps, series, rng, seed + done)
        on_progress(done + 1, num_pairs)
    return {
        name: MethodFigures(
            method=name,
            **{field: Measured.of(values) for field, values in series[name].items()},
            agreement=_mean_agreement(alike, name),
        )
        for name in names
    }


_SERIES = ("localisation", "deletion", "insertion", "randomised", "randomised_localisation", "stability")


def _check(
    network: ExplainedNetwork,
    other: ExplainedNetwork,
    pair: PlantedPair,
    maps: dict[str, RelevanceMap],
    series: dict[str, dict[str, list[float]]],
    rng: np.random.Generator,
    seed: int,
) -> None:
    """Add what one pair says of every method, beside localisation."""
    target, other_target = planted_target(network, pair), planted_target(other, pair)
    masks = MaskTest(network, target, network.features(pair.wave_S), seed=seed)
    noise_S = rng.standard_normal(len(pair.wave_S)).astype(np.float32)
    level = float(np.sqrt((pair.wave_S**2).mean())) * 10 ** (-_NOISE_DB / 20)
    for name, found in maps.items():
        deletion, insertion, random = masks.curves(found.values_FT).areas
        redrawn = make_map(other, other_target, pair.wave_S, name)
        noisy = make_map(network, target, pair.wave_S + level * noise_S, name)
        values = {
            "deletion": random - deletion,
            "insertion": insertion - random,
            "randomised": map_agreement(found, redrawn),
            "randomised_localisation": localisation(redrawn, first=pair.first),
            "stability": map_agreement(found, noisy),
        }
        for field, value in values.items():
            series[name][field].append(value)


def _mean_agreement(alike: dict[tuple[str, str], list[float]], name: str) -> float | None:
    values = [np.mean(found) for pair, found in alike.items() if name in pair]
    return float(np.mean(values)) if values else None


def warning_of(method: str) -> str:
    """What to tell about a method that was not kept; empty for one that was."""
    return "" if METHODS[method].kept else "did not find planted evidence reliably: see docs/explain.md"
