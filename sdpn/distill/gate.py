"""The loss gate: selects reliable pseudo-labels by their loss.

A network learns correctly labelled samples before wrongly labelled ones, so that the distribution of losses
becomes bimodal; the gate is where both modes are equally probable.

Shapes: B batch, N utterances of the training data.

Sources: loss-gated learning, arXiv 2110.03869; two Gaussians, refitted in every epoch, arXiv 2208.01928.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sdpn.clustering.two_gaussians import fit_two_gaussians


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
        epochs_before = self._seen // num_utterances
        self._seen += len(utterance_B)
        if self._seen < self._epochs * num_utterances:
            return
        if self._fixed is not None:
            self.gate.fill_(self._fixed)
        elif self._seen // num_utterances > epochs_before or math.isinf(float(self.gate)):
            self.gate.fill_(self._fitted())

    def _fitted(self) -> float:
        # silent utterances never get a loss
        known = self.loss_N[torch.isfinite(self.loss_N)]
        fit = fit_two_gaussians(known.log1p().double().cpu().numpy(), iterations=200)
        return math.expm1(fit.threshold) if fit.variance > 0 else math.inf

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of utterances seen, for ``state_dict``."""
        return {"seen": self._seen}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `get_extra_state`."""
        self._seen = int(state["seen"])
