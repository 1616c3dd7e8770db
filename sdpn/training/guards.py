"""Guards that stop a failing run with an explanation.

None of them triggers in a healthy run, even at the start or with small batches; the thresholds are far from
the values of healthy runs (docs/training.md has the figures).

Shapes: K prototypes, E projection, N rows, D embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sdpn.distill.base import LossTerms
from sdpn.errors import InputError
from sdpn.tracking import prototype_statistics


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """Criteria for stopping a run.

    Attributes:
        window: number of steps over which the criteria are evaluated; 0 only checks that the loss is finite.
        smallest_usage: threshold for collapse onto few prototypes: (perplexity − 1) / (min(K, rows) − 1) of
            the teacher's assignments over the window, 0 for a single prototype, 1 for uniform usage. Healthy
            SDPN runs stay above 0.7; without Sinkhorn the mini recipe drops to 0.04.
        parked: threshold for collapse onto the uniform distribution: mean cross-entropy over a window after
            the warm-up within this share of log K.
        smallest_deviation: threshold for collapse of embeddings: their standard deviation (about 1 when
            spread).
        smallest_motion: prototypes count as not moving while ‖P − P₀‖ / ‖P₀‖ is below this.
    """

    window: int = 200
    smallest_usage: float = 0.02
    parked: float = 0.002
    smallest_deviation: float = 0.02
    smallest_motion: float = 1e-6

    def __post_init__(self) -> None:
        """Check ranges."""
        if min(self.window, self.smallest_usage, self.parked, self.smallest_deviation) < 0:
            raise ValueError("window, smallest_usage, parked and smallest_deviation must not be negative")
        if self.smallest_motion < 0:
            raise ValueError("smallest_motion must not be negative")


class TrainingFault(InputError):
    """The run has failed and was stopped; the last checkpoint precedes the failure."""


def check_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Check that the optimizer updates every trainable tensor exactly once.

    Raises:
        TrainingFault: a tensor is in no group, or in several; it is named.
    """
    held = [id(tensor) for group in optimizer.param_groups for tensor in group["params"]]
    for name, tensor in module.named_parameters():
        if tensor.requires_grad and (count := held.count(id(tensor))) != 1:
            where = "in no optimizer group: it would never be trained" if not count else "in several groups"
            raise TrainingFault(f"the trainable tensor {name!r} is {where}")


class Guards:
    """Monitors a run; sums stay on the device until a window is full.

    Args:
        config: thresholds.
        initial_KE: prototypes at step 0.
        warmup_steps: a cross-entropy of log K is normal before this step.
    """

    def __init__(self, config: GuardConfig, initial_KE: Tensor, *, warmup_steps: int) -> None:
        self._config = config
        self._initial_KE = initial_KE
        self._warmup_steps = warmup_steps
        self._restart()
        self._finite = initial_KE.new_ones((), dtype=torch.bool)

    def _restart(self) -> None:
        zero = self._initial_KE.new_zeros(())
        self._usage_K = self._initial_KE.new_zeros(len(self._initial_KE))
        self._ce, self._deviation = zero, zero.clone()
        self._steps = 0
        self._rows = 0

    @torch.no_grad()
    def observe(self, terms: LossTerms) -> None:
        """Add the terms of a step."""
        self._finite = self._finite & torch.isfinite(terms.total)
        self._usage_K += prototype_statistics.usage(terms.assignment_NK)
        self._ce = self._ce + terms.terms["ce"]
        self._deviation = self._deviation + prototype_statistics.deviation(terms.embedding_ND)
        self._steps += 1
        self._rows += len(terms.assignment_NK)

    def check_finite(self, step: int) -> None:
        """Check that every loss so far was finite.

        Raises:
            TrainingFault: a loss was NaN or infinite.
        """
        if not bool(self._finite):
            raise TrainingFault(
                f"the loss is NaN or infinite (found at step {step})",
                hint="lower optimizer.lr or use training.precision=fp32; the last checkpoint precedes this "
                "and has finite weights",
            )

    def check_window(self, step: int, prototypes_KE: Tensor) -> None:
        """Evaluate the last window, once it is full.

        Raises:
            TrainingFault: the prototypes do not move, or the run has collapsed.
        """
        config = self._config
        if not config.window or self._steps < config.window:
            return
        self._check_motion(step, prototypes_KE)
        steps, started = self._steps, step - self._steps
        num_prototypes = len(self._usage_K)
        perplexity = float(prototype_statistics.perplexity(self._usage_K / steps))
        reachable = min(num_prototypes, self._rows)
        ce, deviation = float(self._ce) / steps, float(self._deviation) / steps
        over = f"over the last {steps} steps (to step {step})"
        self._restart()
        if deviation < config.smallest_deviation:
            raise TrainingFault(
                f"all embeddings are nearly equal (deviation {deviation:.4f} {over}): they have collapsed",
                hint="raise sdpn.koleo_weight, or lower optimizer.lr",
            )
        if (perplexity - 1) / (reachable - 1) < config.smallest_usage:
            raise TrainingFault(
                f"the teacher uses {perplexity:.1f} of {reachable} prototypes {over}: "
                "the assignments have collapsed",
                hint="enable sdpn.sinkhorn_iterations and sdpn.memax_weight, or lower optimizer.lr",
            )
        log_k = math.log(num_prototypes)
        if started >= self._warmup_steps and abs(ce - log_k) < config.parked * log_k:
            raise TrainingFault(
                f"the cross-entropy stays at log K = {log_k:.3f} {over}: "
                "the student predicts a uniform distribution and learns nothing",
                hint="lower sdpn.temperature or sdpn.sharpening, or raise optimizer.lr",
            )

    def _check_motion(self, step: int, prototypes_KE: Tensor) -> None:
        moved = float((prototypes_KE - self._initial_KE).norm() / self._initial_KE.norm())
        if moved < self._config.smallest_motion:
            raise TrainingFault(
                f"the prototypes have not moved in {step} steps (‖P − P₀‖ / ‖P₀‖ = {moved:.1e}): "
                "they receive no gradient, or are not in the optimizer"
            )

    def state(self) -> dict[str, Any]:
        """The current window, for the checkpoint."""
        return {
            "usage": self._usage_K,
            "ce": self._ce,
            "deviation": self._deviation,
            "steps": self._steps,
            "rows": self._rows,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        device = self._initial_KE.device
        self._usage_K = state["usage"].to(device)
        self._ce, self._deviation = state["ce"].to(device), state["deviation"].to(device)
        self._steps, self._rows = state["steps"], state["rows"]
