"""Planted evidence: half of an utterance is another speaker, and the map has to find out which.

Two utterances are joined, one of a speaker and one of another; the score is the similarity to a third, of the
first speaker. All evidence for it is in one half, which is the left and the right one in turn.

Shapes: S samples, T frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.explain.methods import RelevanceMap, make_map
from sdpn.explain.network import ExplainedNetwork, is_silent
from sdpn.explain.rank_correlation import over_stretches
from sdpn.explain.target import Target, similarity_to
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance

#: Length of either half.
HALF_S = 1.5
#: Level of either half, so that none is louder.
_RMS = 0.05


@dataclass(frozen=True, eq=False)
class PlantedPair:
    """A joined utterance.

    Attributes:
        wave_S: its samples.
        first: whether the evidence is in its first half.
        reference_S: the utterance that the similarity is measured to.
        speakers: the speaker of the evidence, and the other.
    """

    wave_S: np.ndarray
    first: bool
    reference_S: np.ndarray
    speakers: tuple[str, str]


def plant(utterances: Sequence[Utterance], count: int, *, seed: int = 0) -> Iterator[PlantedPair]:
    """Join utterances of different speakers, with the loudest stretch of each.

    Args:
        utterances: with speakers, some of which have two utterances or more.
        count: number of pairs.
        seed: random seed.

    Raises:
        InputError: there are fewer than two speakers, or none with two utterances; or a file cannot be read.
    """
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        if utterance.speaker is not None:
            by_speaker.setdefault(utterance.speaker, []).append(utterance)
    several = [name for name, own in by_speaker.items() if len(own) > 1]
    if len(by_speaker) < 2 or not several:
        raise InputError(
            "planted evidence needs two speakers, one of them with two utterances",
            hint="give a data directory with utt2spk",
        )
    rng = np.random.default_rng(seed)
    made = 0
    for _ in range(20 * count):
        if made == count:
            return
        name = str(rng.choice(several))
        other = str(rng.choice([one for one in by_speaker if one != name]))
        own, reference = (by_speaker[name][i] for i in rng.choice(len(by_speaker[name]), 2, replace=False))
        stranger = by_speaker[other][int(rng.integers(len(by_speaker[other])))]
        evidence, rest = (loudest(one.read()) for one in (own, stranger))
        reference_S = reference.read()
        if evidence is None or rest is None or is_silent(reference_S):
            continue
        first = made % 2 == 0
        wave_S = np.concatenate([evidence, rest] if first else [rest, evidence])
        yield PlantedPair(wave_S, first, reference_S, (name, other))
        made += 1
    raise InputError(f"only {made} of {count} pairs could be joined: the others are too short or silent")


def loudest(wave_S: np.ndarray) -> np.ndarray | None:
    """The loudest stretch of the length of a half, at a fixed level; None if it is too short or silent."""
    size = int(HALF_S * RATE_HZ)
    if len(wave_S) < size or is_silent(wave_S):
        return None
    energy = np.cumsum(np.concatenate([[0.0], wave_S.astype(np.float64) ** 2]))
    start = int((energy[size:] - energy[:-size]).argmax())
    stretch = wave_S[start : start + size]
    return (stretch * (_RMS / max(1e-8, float(np.sqrt((stretch**2).mean()))))).astype(np.float32)


def planted_target(network: ExplainedNetwork, pair: PlantedPair) -> Target:
    """The similarity of a joined utterance to the other recording of its speaker."""
    with torch.no_grad():
        reference_D = network.embed(network.features(pair.reference_S))[0]
    return similarity_to(reference_D, pair.speakers[0])


def localisation(found: RelevanceMap, *, first: bool) -> float:
    """Share of the positive relevance that lies in the half of the evidence; 0.5 is chance.

    Relevance is that of stretches of 0.2 s, the resolution that all methods have.
    """
    half = len(found.over_time_T) // 2
    left, right = (
        float(np.maximum(over_stretches(part_T, found.hop_s), 0).sum())
        for part_T in (found.over_time_T[:half], found.over_time_T[-half:])
    )
    total = left + right
    if not total:
        return 0.5
    return (left if first else right) / total


def localisations(
    network: ExplainedNetwork, pairs: Sequence[PlantedPair], methods: Sequence[str]
) -> Mapping[str, np.ndarray]:
    """`localisation` of every pair by every method: (N,) by method."""
    shares: dict[str, list[float]] = {name: [] for name in methods}
    for pair in pairs:
        target = planted_target(network, pair)
        for name in methods:
            found = make_map(network, target, pair.wave_S, name)
            shares[name].append(localisation(found, first=pair.first))
    return {name: np.array(values) for name, values in shares.items()}
