"""The loss gate: selects reliable pseudo-labels by their loss.

A network learns correctly labelled samples before wrongly labelled ones, so that the distribution of losses
becomes bimodal; the gate is where both modes are equally probable.

Everything is computed where the losses are, and no value is read: a step that reads one waits for all that is
queued on a GPU.

Shapes: B batch, N utterances of the training data.

Sources: loss-gated learning, arXiv 2110.03869; two Gaussians, refitted in every epoch, arXiv 2208.01928.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: Most iterations of expectation-maximisation; where a GPU computes, there are always so many.
_ITERATIONS = 200


class LossGate(nn.Module):
    """Keeps the last loss of every utterance and refits the gate after every epoch.

    The Gaussians are fitted to log(1 + loss): one of them would model the long tail of the raw losses, or the
    difference between correct labels of 10⁻² and 10⁻⁴ nats in their logarithms.

    Args:
        num_utterances: N.
        fixed: a fixed gate, in nats; None fits it.
        epochs: epochs before the gate is first applied.
    """

    loss_N: Tensor
    gate: Tensor

    def __init__(self, num_utterances: int, *, fixed: float | None, epochs: float) -> None:
        super().__init__()
        self._fixed = fixed
        self._epochs = epochs
        self._seen = 0
        self.register_buffer("loss_N", torch.full((num_utterances,), torch.inf))
        self.register_buffer("gate", torch.tensor(torch.inf))

    def accepts(self, loss_B: Tensor) -> Tensor:
        """Whether each loss is below the gate, (B,) bool; true for all before the gate is first applied."""
        return loss_B <= self.gate

    @torch.no_grad()
    def observe(self, utterance_B: Tensor, loss_B: Tensor) -> None:
        """Add the losses of a batch."""
        self.loss_N[utterance_B] = loss_B.to(self.loss_N.dtype)
        num_utterances = len(self.loss_N)
        before = self._seen
        self._seen += len(utterance_B)
        first = self._epochs * num_utterances
        if self._seen < first:
            return
        if self._fixed is not None:
            self.gate.fill_(self._fixed)
        elif before < first or self._seen // num_utterances > before // num_utterances:
            self.gate.copy_(_fitted(self.loss_N))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of utterances seen, for ``state_dict``."""
        return {"seen": self._seen}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `get_extra_state`."""
        self._seen = int(state["seen"])


def _fitted(loss_N: Tensor) -> Tensor:
    """The loss at which both Gaussians are equally probable, a scalar; infinite if all losses are equal.

    The algorithm of `sdpn.clustering.two_gaussians.fit_two_gaussians`, which tests compare, with choices made
    by `torch.where`: instead of ending, a fit that has converged is kept.
    """
    known_N = torch.isfinite(loss_N)  # silent utterances never get a loss
    count = known_N.sum()
    score_N = torch.where(known_N, loss_N, 0.0).double().log1p()
    mean = score_N.sum() / count
    score_N = torch.where(known_N, score_N - mean, 0.0)
    mean_square = score_N.square().sum() / count
    high = mean_square.sqrt()
    low, variance, weight = -high, mean_square, torch.full_like(mean, 0.5)
    spread = high > 1e-9 * mean.abs().clamp(min=1.0)  # else only rounding errors
    running = spread
    for _ in range(_ITERATIONS):
        middle = _threshold(low, high, variance, weight)
        upper_N = torch.sigmoid((high - low) / variance * (score_N - middle)) * known_N
        share, moment = upper_N.sum() / count, (upper_N @ score_N) / count
        new_low, new_high = -moment / (1.0 - share), moment / share
        new_variance = mean_square - share * new_high.square() - (1.0 - share) * new_low.square()
        better = running & (share > 0) & (share < 1) & (new_variance > 0) & (new_high > new_low)
        running = better & ((new_variance - variance).abs() > 1e-9 * new_variance)
        low, high = torch.where(better, new_low, low), torch.where(better, new_high, high)
        variance, weight = torch.where(better, new_variance, variance), torch.where(better, share, weight)
        if loss_N.device.type == "cpu" and not running:
            break
    return torch.where(spread, torch.expm1(mean + _threshold(low, high, variance, weight)), torch.inf)


def _threshold(low: Tensor, high: Tensor, variance: Tensor, weight: Tensor) -> Tensor:
    """Where two Gaussians of one variance are equally probable."""
    return (low + high) / 2 - torch.logit(weight) * variance / (high - low)
