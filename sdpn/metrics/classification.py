"""Accuracy, precision, recall and F1 of classes.

Shapes: N utterances.
"""

from __future__ import annotations

import numpy as np


def classification_figures(label_N: np.ndarray, found_N: np.ndarray) -> dict[str, float]:
    """Figures over the classes that occur among the labels.

    Args:
        label_N: the true class of each utterance.
        found_N: the class that was found.

    Returns:
        ``accuracy``, and the unweighted means over classes ``precision``, ``recall`` and ``f1``, in [0, 1]. A
        class that is never found has precision 0; one that is found and never true counts as errors of the
        others alone.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        label_N, found_N, labels=np.unique(label_N), average="macro", zero_division=0.0
    )
    return {
        "accuracy": float(accuracy_score(label_N, found_N)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }
