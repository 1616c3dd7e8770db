"""The loss gate: where it lies between two humps of losses, when it closes, and that it is resumed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from sdpn.clustering.two_gaussians import fit_two_gaussians
from sdpn.distill.gate import LossGate, _fitted


def _losses(count: int = 600) -> np.ndarray:
    """Three quarters easy, one quarter hard, normal in log(1 + loss)."""
    rng = np.random.default_rng(0)
    easy = rng.normal(0.5, 0.15, count * 3 // 4)
    return np.expm1(np.concatenate([easy, rng.normal(1.8, 0.15, count - len(easy))]))


def test_the_gate_is_where_both_humps_are_equally_probable() -> None:
    losses = _losses()
    gate = LossGate(len(losses), fixed=None, epochs=1)
    gate.observe(torch.arange(len(losses)), torch.tensor(losses, dtype=torch.float32))
    logs = np.log1p(losses)[:, None]
    mixture = GaussianMixture(2, covariance_type="tied", random_state=0, tol=1e-8, max_iter=1000).fit(logs)
    line = np.linspace(0.5, 1.8, 20001)[:, None]
    hard = int(mixture.means_[:, 0].argmax())
    expected = line[int((mixture.predict_proba(line)[:, hard] >= 0.5).argmax()), 0]
    assert np.log1p(float(gate.gate)) == pytest.approx(expected, abs=0.01)
    believed = gate.accepts(torch.tensor(losses, dtype=torch.float32))
    assert believed[:450].float().mean() > 0.99 and believed[450:].float().mean() < 0.01


def test_the_gate_stays_open_for_its_epochs_then_is_fitted_once_in_each() -> None:
    losses = torch.tensor(_losses(40), dtype=torch.float32)
    gate = LossGate(40, fixed=None, epochs=2)
    seen = []
    for step in range(24):  # 10 utterances each: 4 steps are an epoch
        rows = torch.arange(10) + 10 * (step % 4)
        gate.observe(rows, losses[rows] * (1 + step))
        seen.append(float(gate.gate))
    assert seen[:7] == [float("inf")] * 7
    assert len(set(seen[7:11])) == 1 and seen[7] < seen[11] < seen[15] < seen[19]


def test_a_fixed_gate_closes_at_its_value() -> None:
    gate = LossGate(4, fixed=1.5, epochs=1)
    gate.observe(torch.arange(2), torch.tensor([0.1, 9.0]))
    assert gate.accepts(torch.tensor([9.0])).all()
    gate.observe(torch.arange(2, 4), torch.tensor([0.1, 9.0]))
    assert gate.accepts(torch.tensor([1.4, 1.6])).tolist() == [True, False]


def test_equal_losses_leave_it_open() -> None:
    gate = LossGate(4, fixed=None, epochs=1)
    gate.observe(torch.arange(4), torch.full((4,), 2.0))
    assert gate.accepts(torch.tensor([1e9])).all()


def test_a_restored_gate_goes_on_like_the_saved_one() -> None:
    losses = torch.tensor(_losses(40), dtype=torch.float32)
    gate, other = (LossGate(40, fixed=None, epochs=1) for _ in range(2))
    gate.observe(torch.arange(30), losses[:30])
    other.load_state_dict(gate.state_dict())
    for one in (gate, other):
        one.observe(torch.arange(30, 40), losses[30:])
    assert torch.isfinite(gate.gate) and torch.equal(gate.gate, other.gate)


@pytest.mark.parametrize("seed", range(6))
def test_the_fit_is_that_of_the_clusterers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = torch.tensor(rng.gamma(rng.uniform(0.3, 3), 2, 500), dtype=torch.float32)
    losses[rng.integers(500, size=20)] = torch.inf  # not seen yet
    known = losses[torch.isfinite(losses)].double().numpy()
    expected = fit_two_gaussians(np.log1p(known), iterations=200).threshold
    assert float(_fitted(losses)) == pytest.approx(np.expm1(expected), rel=1e-9)


def test_a_fit_without_losses_leaves_it_open() -> None:
    assert float(_fitted(torch.full((5,), torch.inf))) == float("inf")
