"""A scoring back end from recordings without speaker labels: what ``sdpn backend`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sdpn.augmentation.conditions import one_after_another, recorded_conditions, sometimes, telephone
from sdpn.errors import InputError
from sdpn.extraction.embed_parts import embed_parts
from sdpn.io.kaldi import Utterance, read_table
from sdpn.models.embedder import Embedder
from sdpn.verification.back_end import BackEnd
from sdpn.verification.learn_back_end import LearningConfig, learn_back_end

#: Signal-to-noise ratio of the degraded copies, in dB, and the share of them that is reverberated.
_SNR_DB, _ROOM_SHARE = (0.0, 20.0), 0.5
#: Share of the degraded copies that is heard over a telephone, where there are noises or rooms.
_TELEPHONE_SHARE = 0.5

_DEFAULTS = LearningConfig()


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedBackEnd:
    """A back end and what it was trained on.

    Attributes:
        back_end: for `sdpn.verification.storage.write_back_end`.
        num_utterances: it was trained on.
        num_classes: of these.
        left_out: why others were excluded: utterance -> reason.
    """

    back_end: BackEnd
    num_utterances: int
    num_classes: int
    left_out: Mapping[str, str]


def train_back_end(
    model: Embedder,
    utterances: Sequence[Utterance],
    config: LearningConfig = _DEFAULTS,
    *,
    classes: Mapping[str, str] | None = None,
    corpora: Mapping[str, str] | None = None,
    noise: Path | None = None,
    rir: Path | None = None,
    clean: bool = False,
    max_utterances: int = 20_000,
    parts: int = 2,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> TrainedBackEnd:
    """Train PLDA and AS-norm on utterances of different speakers.

    Args:
        model: from `sdpn.load_model`, on the device that computes.
        utterances: one speaker each (`sdpn.io.inputs.find_utterances`).
        config: size of the cohort and random seed.
        classes: class of each utterance (`read_classes`); None: every utterance is its own.
        corpora: corpus of each utterance; strangers of one are more similar (`sdpn.verification.strangers`).
            None: all are of one.
        noise: Kaldi data directory of noises for the degraded copies.
        rir: the same of room impulse responses.
        clean: without degraded copies. By default every utterance and part has one: over a telephone, or in
            noise and rooms with half of them over a telephone.
        max_utterances: more are drawn at random.
        parts: of each utterance, at least 2.
        on_progress: called with (done, total).

    Raises:
        InputError: noises, rooms or recordings cannot be read, or there are too few utterances.
    """
    utterances = some_utterances(utterances, max_utterances, seed=config.seed)
    conditions = recorded_conditions(noise=noise, rir=rir, snr_db=_SNR_DB, room_share=_ROOM_SHARE)
    conditions.append(sometimes(_TELEPHONE_SHARE, telephone) if conditions else telephone)
    embedded = embed_parts(
        model,
        utterances,
        parts=parts,
        degrade=None if clean else one_after_another(*conditions),
        seed=config.seed,
        on_progress=on_progress,
    )
    names = embedded.ids if classes is None else [classes[name] for name in embedded.ids]
    back_end = learn_back_end(
        embedded.whole_ND,
        embedded.parts_NPD,
        config,
        classes_N=None if classes is None else np.array(names),
        degraded_ND=embedded.degraded_ND,
        corpora_N=None if corpora is None else np.array([corpora[name] for name in embedded.ids]),
    )
    return TrainedBackEnd(
        back_end=replace(back_end, model=model.weights_digest),
        num_utterances=len(embedded.ids),
        num_classes=len(set(names)),
        left_out=embedded.left_out,
    )


def some_utterances(utterances: Sequence[Utterance], number: int, *, seed: int) -> list[Utterance]:
    """At most ``number`` of the utterances, drawn at random, in their order."""
    if len(utterances) <= number:
        return list(utterances)
    kept = np.random.default_rng(seed).permutation(len(utterances))[:number]
    return [utterances[index] for index in np.sort(kept)]


def read_classes(path: Path, utterances: Sequence[Utterance]) -> dict[str, str]:
    """Read 'utterance class' lines.

    Raises:
        InputError: the file cannot be read, or an utterance has no class.
    """
    classes = read_table(path)
    missing = [utterance.id for utterance in utterances if utterance.id not in classes]
    if missing:
        raise InputError(
            f"has no class for {missing[0]!r} ({len(missing)} of {len(utterances)} utterances have none)",
            path=path,
            hint="expected a line 'utterance class' for every utterance of --data",
        )
    return classes
