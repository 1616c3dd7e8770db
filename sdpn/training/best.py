"""The best network of a run by its validation, and when to stop early."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sdpn.distill.supervised import Supervised
from sdpn.training.checkpoint_validation import check_like


class Best:
    """Keeps the exported tensors of the best evaluation, in memory and in checkpoints.

    Args:
        figure: tag of the figure to compare, the larger the better; of equals, the first is kept.
        patience: evaluations without a better one before the run stops; 0 for no end.
        lowest: the smaller the better instead.

    Attributes:
        name: of the figure, without its group.
        step: step of the best evaluation; 0 before the first.
        value: its figure.
    """

    def __init__(self, figure: str, patience: int, *, lowest: bool = False) -> None:
        self._figure = figure
        self.name = figure.rpartition("/")[2]
        self._sign = -1.0 if lowest else 1.0
        self._patience = patience
        self.step = 0
        self.value = 0.0
        self._stale = 0
        self._seen = 0
        self._tensors: dict[str, Tensor] = {}

    def observe(self, step: int, figures: dict[str, float], network: Supervised) -> None:
        """Compare an evaluation; one that a resumed run repeats counts once."""
        if step <= self._seen:
            return
        self._seen = step
        value = figures[self._figure]
        if self.step and self._sign * value <= self._sign * self.value:
            self._stale += 1
            return
        self.step, self.value, self._stale = step, value, 0
        self._tensors = {
            name: tensor.detach().to("cpu", copy=True) for name, tensor in network.exported().items()
        }

    @property
    def exhausted(self) -> bool:
        """Whether the run is to stop."""
        return 0 < self._patience <= self._stale

    def install(self, network: Supervised) -> None:
        """Give the network the tensors of the best evaluation, if there was one."""
        if self.step:
            network.load_exported(self._tensors)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {
            "step": self.step,
            "value": self.value,
            "stale": self._stale,
            "seen": self._seen,
            "tensors": self._tensors,
        }

    def check(self, state: Any, network: Supervised, name: str) -> None:
        """Reject a state of another run.

        Raises:
            ValueError: something differs; the message names it.
        """
        check_like(state, {"step": 0, "value": 0.0, "stale": 0, "seen": 0, "tensors": {}}, name)
        if state["step"]:
            check_like(state["tensors"], network.exported(), f"{name}.tensors")

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.step, self.value = state["step"], float(state["value"])
        self._stale, self._seen = state["stale"], state["seen"]
        self._tensors = state["tensors"]
