"""The loss gate: which pseudo-labels to believe, from how hard they are to learn.

A network learns the samples whose label is right before those whose label is wrong. The losses of all
utterances then have two humps, and the gate is where both are equally probable.

Shapes: B batch, N utterances of the training data.

Sources: loss-gated learning, arXiv 2110.03869; the fit of two Gaussians, renewed in every epoch, is that of
arXiv 2208.01928.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sdpn.clustering.two_gaussians import fit_two_gaussians


class LossGate(nn.Module):
    """Remembers the last loss of every utterance; sets the gate anew when an epoch of utterances has come in.

    log(1 + loss) is fitted. Losses themselves have a long tail, which one of the Gaussians would be spent on;
    their logarithms tell apart right labels of 10⁻² and 10⁻⁴ nats, and the gate would end up between those.

    Args:
        num_utterances: N.
        fixed: a gate that stays as it is; None fits it.
        epochs: epochs before the gate closes for the first time.
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
        """Tell which losses are below the gate, (B,) bool; all of them while it is open."""
        return loss_B <= self.gate

    @torch.no_grad()
    def observe(self, utterance_B: Tensor, loss_B: Tensor) -> None:
        """Take in the losses of a batch."""
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
        # without utterances that never come, because they are silent
        known = self.loss_N[torch.isfinite(self.loss_N)]
        fit = fit_two_gaussians(known.log1p().double().cpu().numpy(), iterations=200)
        return math.expm1(fit.threshold) if fit.variance > 0 else math.inf

    def get_extra_state(self) -> dict[str, Any]:
        """Return how many utterances have come in, for ``state_dict``."""
        return {"seen": self._seen}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` gave."""
        self._seen = int(state["seen"])
