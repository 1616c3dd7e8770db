"""What a network attends to: the weights of attentive pooling, and of transformer and conformer blocks.

Every softmax that a network computes while it runs is recorded with the module that computes it, so that
encoders of any kind, one's own as well, show their attention.

Shapes: H heads (or channels), T frames of the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sdpn.errors import InputError
from sdpn.explain.network import ExplainedNetwork

#: Most heads whose weights are told apart; a softmax of more is one for every channel, of which the mean is
#: taken.
_MOST_HEADS = 32


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """The attention of one module.

    Attributes:
        layer: name of the module.
        heads_HT: weight of every frame by head, (H, T), each row summing to 1. Of self-attention, the weight
            that a frame gets from all frames together.
        between_HTT: self-attention: weight of every frame (last axis) for every frame, (H, T, T); else None.
    """

    layer: str
    heads_HT: np.ndarray
    between_HTT: np.ndarray | None

    @property
    def over_time_T(self) -> np.ndarray:
        """Mean over the heads, (T,), summing to 1."""
        mean_T: np.ndarray = self.heads_HT.mean(0)
        return mean_T


@dataclass(frozen=True)
class AttentionShares:
    """Where weight falls, next to how much of the time that is.

    Attributes:
        weight: share of the weight by kind: speech, noise, silence.
        time: share of the frames by kind.
    """

    weight: dict[str, float]
    time: dict[str, float]


@torch.no_grad()
def attention_maps(network: ExplainedNetwork, features_1FT: Tensor) -> list[AttentionMap]:
    """The attention over time of every module that has one, in the order in which they run; may be empty."""
    with _recorded(network.encoder) as found:
        network.embed(features_1FT)
    maps = []
    for layer, weights in found:
        if weights.ndim == 4 and weights.shape[-1] == weights.shape[-2] > 1:
            between_HTT = weights[0].cpu().numpy()
            maps.append(AttentionMap(layer, between_HTT.mean(1), between_HTT))
        elif weights.ndim == 3 and weights.shape[-1] > 1:
            heads_HT = weights[0] if weights.shape[1] <= _MOST_HEADS else weights[0].mean(0, keepdim=True)
            maps.append(AttentionMap(layer, heads_HT.cpu().numpy(), None))
    return maps


def require_attention(maps: Sequence[AttentionMap]) -> None:
    """Check that there is attention to show.

    Raises:
        InputError: the network has none.
    """
    if not maps:
        raise InputError(
            "the network has no attention over time",
            hint="its pooling and blocks compute no softmax over frames; maps of relevance do without",
        )


def attention_shares(weight_T: np.ndarray, kinds: Sequence[str]) -> AttentionShares:
    """Shares of the weight on speech, noise and silence.

    Args:
        weight_T: weight of every frame of a layer, summing to 1.
        kinds: ``speech``, ``noise`` or ``silence`` for every frame of the features.
    """
    at_T = (np.arange(len(weight_T)) * len(kinds)) // len(weight_T)
    kind_T = np.array(kinds)[at_T]
    names = ("speech", "noise", "silence")
    return AttentionShares(
        {name: float(weight_T[kind_T == name].sum()) for name in names},
        {name: float((kind_T == name).mean()) for name in names},
    )


class _Softmaxes(TorchFunctionMode):
    """Records the result of every softmax, with the innermost module that computes it."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.found: list[tuple[str, Tensor]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "softmax" and isinstance(result, Tensor):
            self.found.append((self.running[-1] if self.running else "", result.detach()))
        return result


@contextmanager
def _recorded(encoder: nn.Module) -> Iterator[list[tuple[str, Tensor]]]:
    """Record the softmaxes that the network computes within the block."""
    softmaxes = _Softmaxes()

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: softmaxes.running.append(name)

    def leave(*_: Any) -> None:
        softmaxes.running.pop()

    handles = []
    for name, module in encoder.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name)))
        handles.append(module.register_forward_hook(leave))
    try:
        with softmaxes:
            yield softmaxes.found
    finally:
        for handle in handles:
            handle.remove()
