"""Figures of classes against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.metrics.classification import classification_figures


def test_figures_by_hand() -> None:
    # a: 2 of 3 found, and one b taken for it; b: 1 of 2; c: none, taken for d, which is no true class
    truth = np.array(["a", "a", "a", "b", "b", "c"])
    found = np.array(["a", "a", "b", "b", "a", "d"])
    figures = classification_figures(truth, found)
    assert figures["accuracy"] == pytest.approx(3 / 6)
    assert figures["precision"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert figures["recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert figures["f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert classification_figures(truth, truth) == dict.fromkeys(figures, 1.0)
