"""Linear probes: what can be read off a layer, next to chance and to the same with shuffled labels.

A probe is ridge regression, on the classes or on the number, from the first principal components of the
layer. It is cross-validated over groups, such as speakers, so that a gender is not recognised by the speaker.
The control task (Hewitt and Liang, Designing and interpreting probes with control tasks, arXiv 1909.03368)
has the labels shuffled over the groups: what a probe gets right there, it has not read off the layer.

Shapes: N items, D features of a layer, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Principal components that a probe sees: the same for every layer, whatever its size.
_COMPONENTS = 128
_FOLDS = 5
#: Ridge, relative to the number of items.
_RIDGE = 0.03
#: Fewer items of a class cannot be cross-validated.
_FEWEST = _FOLDS


@dataclass(frozen=True, eq=False)
class ProbeTask:
    """What is to be read off.

    Attributes:
        name: such as ``gender``.
        labels: one for each item: classes as text, or numbers.
        groups: items of one group are never on both sides of a split; None: every item is a group.
    """

    name: str
    labels: np.ndarray
    groups: np.ndarray | None = None

    @property
    def is_number(self) -> bool:
        """Whether labels are numbers; else they are classes."""
        return bool(np.issubdtype(self.labels.dtype, np.floating))

    @property
    def num_classes(self) -> int:
        """K; 0 for numbers."""
        return 0 if self.is_number else len(set(self.labels.tolist()))

    @property
    def chance(self) -> float:
        """Score of guessing: 1 / K, or 0."""
        return 1 / self.num_classes if self.num_classes else 0.0


@dataclass(frozen=True)
class ProbeScore:
    """What a probe reads off a layer.

    Attributes:
        task: its name.
        score: balanced accuracy (mean recall of the classes), or R² of numbers.
        chance: score of guessing.
        control: score with shuffled labels.
        num_items: N.
        num_classes: K; 0 for numbers.
    """

    task: str
    score: float
    chance: float
    control: float
    num_items: int
    num_classes: int

    @property
    def above_chance(self) -> float:
        """The score from 0 (chance) to 1 (perfect)."""
        return (self.score - self.chance) / (1 - self.chance)


def usable_task(task: ProbeTask) -> ProbeTask | None:
    """The task without classes in too few groups; None if fewer than two remain, or numbers are all equal.

    Items that are left out have an empty label, or NaN.
    """
    groups = np.arange(len(task.labels)) if task.groups is None else task.groups
    if task.is_number:
        finite = np.isfinite(task.labels)
        enough = len(set(groups[finite].tolist())) >= _FEWEST
        return task if enough and np.ptp(task.labels[finite]) > 1e-9 else None
    labels = task.labels.astype(str)
    for name in set(labels.tolist()):
        if len(set(groups[labels == name].tolist())) < _FEWEST:
            labels = np.where(labels == name, "", labels)
    return ProbeTask(task.name, labels, task.groups) if len(set(labels.tolist()) - {""}) > 1 else None


def probe_layer(rows_ND: np.ndarray, tasks: Sequence[ProbeTask], *, seed: int = 0) -> list[ProbeScore]:
    """Read tasks off the rows of one layer.

    Args:
        rows_ND: (N, D) one row for each item.
        tasks: with N labels each, from `usable_task`.
        seed: random seed of splits and shuffles.
    """
    components_NP = principal_components(rows_ND)
    return [_probe(components_NP, task, seed) for task in tasks]


def principal_components(rows_ND: np.ndarray) -> np.ndarray:
    """The first principal components of rows with columns of equal variance, each scaled by the first's."""
    deviation_D = rows_ND.std(0)
    scaled_ND = (rows_ND - rows_ND.mean(0)) / np.where(deviation_D > 1e-8, deviation_D, 1)
    most = min(_COMPONENTS, *scaled_ND.shape)
    if scaled_ND.shape[0] > 2 * scaled_ND.shape[1]:
        _, axes_DD = np.linalg.eigh(scaled_ND.T.astype(np.float64) @ scaled_ND)
        found = scaled_ND @ axes_DD[:, ::-1][:, :most]
    else:
        square_N, axes_NN = np.linalg.eigh(scaled_ND.astype(np.float64) @ scaled_ND.T)
        found = axes_NN[:, ::-1][:, :most] * np.sqrt(np.maximum(square_N[::-1][:most], 0))
    first = found[:, 0].std()
    components_NP: np.ndarray = found / (first if first > 0 else 1.0)
    return components_NP


def _probe(components_NP: np.ndarray, task: ProbeTask, seed: int) -> ProbeScore:
    has = np.isfinite(task.labels) if task.is_number else task.labels != ""
    rows, labels = components_NP[has], task.labels[has]
    groups = np.arange(len(labels)) if task.groups is None else task.groups[has]
    rng = np.random.default_rng(seed)
    cleaned = ProbeTask(task.name, labels, groups)
    return ProbeScore(
        task.name,
        _cross_validated(rows, cleaned, seed),
        cleaned.chance,
        _cross_validated(rows, ProbeTask(task.name, _shuffled(labels, groups, rng), groups), seed),
        len(labels),
        cleaned.num_classes,
    )


def _cross_validated(rows_NP: np.ndarray, task: ProbeTask, seed: int) -> float:
    from sklearn.linear_model import Ridge
    from sklearn.metrics import balanced_accuracy_score, r2_score
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    ridge = _RIDGE * len(rows_NP)
    predicted = task.labels.copy()
    if task.is_number:
        splits = GroupKFold(_FOLDS, shuffle=True, random_state=seed).split(rows_NP, None, task.groups)
    else:
        splits = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed).split(
            rows_NP, task.labels, task.groups
        )
    for train, test in splits:
        model = Ridge(ridge)
        if task.is_number:
            predicted[test] = model.fit(rows_NP[train], task.labels[train]).predict(rows_NP[test])
            continue
        classes, index = np.unique(task.labels[train], return_inverse=True)
        weight = 1 / np.bincount(index)[index]
        model.fit(
            rows_NP[train], np.eye(len(classes))[index], sample_weight=weight * len(index) / len(classes)
        )
        predicted[test] = classes[model.predict(rows_NP[test]).argmax(1)]
    if task.is_number:
        return float(r2_score(task.labels, predicted))
    return float(balanced_accuracy_score(task.labels, predicted))


def _shuffled(labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels in another order; those of a group that all have the same label move together."""
    unique, index = np.unique(groups, return_inverse=True)
    first_G = np.full(len(unique), -1)
    first_G[index[::-1]] = np.arange(len(labels))[::-1]
    if (labels == labels[first_G][index]).all():
        shuffled: np.ndarray = labels[first_G][rng.permutation(len(unique))][index]
        return shuffled
    return labels[rng.permutation(len(labels))]
