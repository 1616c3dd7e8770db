"""Labels of the training data, and the utterances that are left out of it for validation.

Shapes: N utterances, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sdpn.data.sampler import Mixture
from sdpn.data.utterance_table import UtteranceTable
from sdpn.distill.labels import Labels
from sdpn.distill.supervised import SupervisedConfig
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, read_utt2spk

_log = logging.getLogger(__name__)

#: Classes that a message names.
_NAMED = 5


class Labelled(NamedTuple):
    """The data of a run with labels.

    Attributes:
        utterances: to train on, corpus by corpus.
        mixture: of them.
        labels: of them, with the names of the classes.
        validation: utterances that are not trained on.
        validation_label_N: their classes, int64.
    """

    utterances: UtteranceTable
    mixture: Mixture
    labels: Labels
    validation: list[Utterance]
    validation_label_N: np.ndarray


def speaker_table(directories: Sequence[Path]) -> tuple[dict[str, str], Path]:
    """The speaker of each utterance by ``utt2spk``; one name is one speaker, in all directories.

    Returns:
        utterance -> speaker, and the file to name in messages.

    Raises:
        InputError: a directory has no ``utt2spk``, or it is malformed.
    """
    table: dict[str, str] = {}
    for directory in directories:
        speaker_of = read_utt2spk(directory)
        if not speaker_of:
            raise InputError(
                "has no utt2spk, which objective=supervised takes its labels from",
                path=directory,
                hint="write 'utterance speaker' lines there, or give a table with --labels FILE",
            )
        table |= speaker_of
    return table, directories[0] / "utt2spk"


def labelled_data(
    config: SupervisedConfig,
    utterances: UtteranceTable,
    mixture: Mixture,
    class_of: Mapping[str, str],
    source: Path,
    *,
    names: Sequence[str] = (),
) -> Labelled:
    """Label the utterances, and leave one fold of every class out for validation.

    A class with one utterance is trained on but cannot be validated; it is named in a warning.

    Args:
        config: labels and folds.
        utterances: of all corpora.
        mixture: of them.
        class_of: class name of each utterance.
        source: file of these names, for messages.
        names: the classes in the order of their numbers; empty numbers them by name.

    Raises:
        InputError: an utterance has no class (unless they are dropped), there are fewer than two classes,
            or the folds cannot be made.
    """
    class_N = [class_of.get(key) for key in utterances.ids]
    missing = [index for index, name in enumerate(class_N) if name is None]
    if missing and config.unlabelled == "refuse":
        raise InputError(
            f"has no label for {utterances.ids[missing[0]]!r} ({len(missing)} of {len(class_N)} utterances "
            "have none)",
            path=source,
            hint="add 'utterance class' lines, or train without these utterances: supervised.unlabelled=drop",
        )
    if missing:
        _log.warning("%d of %d utterances have no label and are left out", len(missing), len(class_N))
    # of one utterance table alone: a table for several runs may name more
    found = names or sorted({name for name in class_N if name is not None})
    number_of = {name: index for index, name in enumerate(found)}
    label_N = np.array([-1 if name is None else number_of[name] for name in class_N], dtype=np.int64)
    if len(found) < 2:
        raise InputError(
            f"has {len(found)} class{'' if len(found) == 1 else 'es'} for these utterances; at least two are "
            "needed",
            path=source,
        )
    counts_K = np.bincount(label_N[label_N >= 0], minlength=len(found))
    held_N = np.zeros(len(label_N), dtype=bool)
    if config.folds:
        fold_N = stratified_folds(label_N, config.folds, seed=config.split_seed)
        _check_folds(counts_K, found, config, source)
        held_N = fold_N == config.fold
    else:
        _warn(found, counts_K == 1, "one utterance, all that is known of their voices")
    kept_N = (label_N >= 0) & ~held_N
    ends = list(accumulate(mixture.sizes, initial=0))
    sizes = tuple(int(kept_N[first:last].sum()) for first, last in pairwise(ends))
    if not all(sizes):
        raise InputError("has no label for any utterance of one of the data directories", path=source)
    training = UtteranceTable(utterances[int(index)] for index in np.flatnonzero(kept_N))
    return Labelled(
        training,
        Mixture(sizes, mixture.weights, label_N=label_N[kept_N] if config.balanced else None),
        Labels(torch.from_numpy(label_N[kept_N]), len(found), tuple(found)),
        [utterances[int(index)] for index in np.flatnonzero(held_N)],
        label_N[held_N],
    )


def stratified_folds(label_N: np.ndarray, folds: int, *, seed: int) -> np.ndarray:
    """Split each class into folds of equal size, to one utterance.

    Not scikit-learn's ``StratifiedKFold``, which puts the only utterance of a class into a fold, and so
    leaves the class out of one training set.

    Args:
        label_N: class of each utterance, int64; below 0 for none.
        folds: number of folds.
        seed: random seed.

    Returns:
        (N,) int64: the fold of each utterance; −1 without a class, or where the class has only one.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(label_N))
    order = shuffled[np.argsort(label_N[shuffled], kind="stable")]
    sorted_N = label_N[order]
    counts_K = np.bincount(label_N[label_N >= 0])
    starts_N = np.searchsorted(sorted_N, sorted_N)
    # where a class begins differs, or the first folds would be larger than the last
    first_K = rng.integers(folds, size=max(1, len(counts_K)))
    fold_N = np.full(len(label_N), -1, dtype=np.int64)
    split_N = sorted_N >= 0
    split_N[split_N] = counts_K[sorted_N[split_N]] > 1
    place_N = np.arange(len(label_N)) - starts_N
    fold_N[order[split_N]] = (place_N + first_K[sorted_N])[split_N] % folds
    return fold_N


def _warn(names: Sequence[str], chosen_K: np.ndarray, consequence: str) -> None:
    """Name classes in a warning, if there are any."""
    chosen = [names[index] for index in np.flatnonzero(chosen_K).tolist()]
    if chosen:
        rest = f" and {len(chosen) - _NAMED} more" if len(chosen) > _NAMED else ""
        shown = ", ".join(map(repr, chosen[:_NAMED]))
        _log.warning("%d classes (%s%s) have %s", len(chosen), shown, rest, consequence)


def _check_folds(counts_K: np.ndarray, names: Sequence[str], config: SupervisedConfig, source: Path) -> None:
    """Name the classes that cannot be validated.

    Raises:
        InputError: no class has as many utterances as there are folds.
    """
    if counts_K.max() < config.folds:
        raise InputError(
            f"{config.folds} folds cannot be made: the largest class, {names[int(counts_K.argmax())]!r}, has "
            f"{counts_K.max()} utterance{'' if counts_K.max() == 1 else 's'}",
            path=source,
            hint=f"set supervised.folds to at most {counts_K.max()}" if counts_K.max() > 1 else None,
        )
    for chosen_K, consequence in (
        (counts_K == 1, "one utterance, which is trained on: they are left out of validation"),
        (
            (counts_K > 1) & (counts_K < config.folds),
            f"fewer utterances than the {config.folds} folds, and are missing from some",
        ),
    ):
        _warn(names, chosen_K, consequence)
