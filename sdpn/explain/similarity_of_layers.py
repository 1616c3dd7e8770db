"""How alike layers are: linear CKA; how many directions they use: effective rank.

Sources: Kornblith et al., Similarity of neural network representations revisited, arXiv 1905.00414; without
the bias of few items by Nguyen et al., Do wide and deep networks learn the same things?, arXiv 2010.15327,
equation 3 (Song et al., 2012).

Shapes: N items, D and E features of two layers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sdpn.tracking.prototype_statistics import effective_rank


def cka(first_ND: np.ndarray, second_NE: np.ndarray) -> float:
    """Linear CKA of two layers on the same N > 3 items: 1 up to rotation and scale, about 0 if unrelated."""
    first_NN, second_NN = (_gram(rows) for rows in (first_ND, second_NE))
    scale = np.sqrt(max(0.0, _hsic(first_NN, first_NN)) * max(0.0, _hsic(second_NN, second_NN)))
    return float(_hsic(first_NN, second_NN) / scale) if scale > 0 else 0.0


def cka_table(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> np.ndarray:
    """CKA of every layer of one network (rows) with every layer of another, or of the same (columns)."""
    grams = [[_gram(rows) for rows in layers.values()] for layers in (first, second)]
    own = [[_hsic(gram_NN, gram_NN) for gram_NN in each] for each in grams]
    table = np.zeros((len(first), len(second)))
    for row, a_NN in enumerate(grams[0]):
        for column, b_NN in enumerate(grams[1]):
            scale = np.sqrt(max(0.0, own[0][row]) * max(0.0, own[1][column]))
            table[row, column] = _hsic(a_NN, b_NN) / scale if scale > 0 else 0.0
    return table


def ranks(layers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Effective rank of every layer (N, D): the number of directions that its items spread over."""
    return {
        name: float(effective_rank(torch.from_numpy(np.ascontiguousarray(rows_ND - rows_ND.mean(0)))))
        for name, rows_ND in layers.items()
    }


def _gram(rows_ND: np.ndarray) -> np.ndarray:
    centred_ND = rows_ND.astype(np.float64) - rows_ND.mean(0)
    gram_NN: np.ndarray = centred_ND @ centred_ND.T
    np.fill_diagonal(gram_NN, 0)
    return gram_NN


def _hsic(a_NN: np.ndarray, b_NN: np.ndarray) -> float:
    """Unbiased Hilbert-Schmidt independence criterion of two Gram matrices without their diagonals."""
    count = len(a_NN)
    a_N, b_N = a_NN.sum(0), b_NN.sum(0)
    total = (
        (a_NN * b_NN).sum()
        + a_N.sum() * b_N.sum() / ((count - 1) * (count - 2))
        - 2 * (a_N @ b_N) / (count - 2)
    )
    return float(total / (count * (count - 3)))
