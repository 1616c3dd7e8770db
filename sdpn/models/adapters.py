"""Bottleneck adapters: small parallel branches of a trained network's layers, trained instead of them.

A layer computes y = W x + U a(D x) with D to ``bottleneck`` channels and U back, a linear or ReLU. D has the
kernel, stride and dilation of the layer, U is pointwise and starts at zero, so that an adapted network starts
as the network itself. Several adapters form a soft mixture: at every frame each has a weight, a softmax of a
linear function of x.

With ``scale`` an adapter also multiplies each output channel of its layer by 1 + s and, where the layer has a
bias, adds t to it; s and t start at zero.

With ``norms`` the batch norms of the network are trained themselves, running averages included.

Without an activation and with one adapter, (1 + s) W + U D is a layer like any other: such adapters are
merged exactly (`merged`). All others stay in the network, which then needs them to be read
(`sdpn.models.folder`).

Sources: Houlsby et al., arXiv 1902.00751 (bottlenecks); He et al., 2110.04366, section 3.3 (parallel ones);
Hu et al., LoRA, 2106.09685 (linear ones, and merging); Wang et al., AdaMix, 2205.12410 (mixtures);
Lian et al., SSF, 2210.08823 (scale and shift); Rebuffi et al., 1705.08045 (norms of each domain).

Shapes: B batch, C channels in, O channels out, R = E · bottleneck, E adapters.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from sdpn.errors import InputError

#: Name of the adapter below its layer, as in ``blocks.0.expand.0.adapter.down.weight``.
_NAME = "adapter"

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class AdaptersConfig:
    """Adapters of a network.

    Attributes:
        bottleneck: channels between down and up.
        activation: ``none``: linear, merged into the layers on export; ``relu``: kept as part of the network.
        experts: number of adapters of a layer that are mixed, with a weight of each at every frame.
        norms: also train the batch norms: scale, shift and running averages.
        scale: also scale the layer's output channels, and shift those of layers with a bias.
        only: names of layers that have adapters, with ``*``; empty: every linear layer and convolution
            without groups.
    """

    bottleneck: int = 4
    activation: Literal["none", "relu"] = "none"
    experts: int = 1
    scale: bool = False
    norms: bool = False
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check ranges."""
        if min(self.bottleneck, self.experts) < 1:
            raise ValueError("bottleneck and experts must be positive")

    @property
    def is_exact(self) -> bool:
        """Whether the layers can take them in without any change of the result."""
        return self.activation == "none" and self.experts == 1


class Adapter(nn.Module):
    """What changes the output of a layer.

    Args:
        layer: the layer.
        config: sizes.
    """

    def __init__(self, layer: Layer, config: AdaptersConfig) -> None:
        super().__init__()
        self._relu = config.activation == "relu"
        self._experts = config.experts
        rank = config.bottleneck * config.experts
        if isinstance(layer, nn.Linear):
            self.down: Layer = nn.Linear(layer.in_features, rank, bias=False)
            self.up: Layer = nn.Linear(rank, layer.out_features, bias=False)
            self.gate: Layer | None = nn.Linear(layer.in_features, config.experts) if self._mixes else None
        else:
            kind: Any = type(layer)
            window = {
                "kernel_size": layer.kernel_size,
                "stride": layer.stride,
                "padding": layer.padding,
                "dilation": layer.dilation,
                "padding_mode": layer.padding_mode,
            }
            self.down = kind(layer.in_channels, rank, bias=False, **window)
            self.up = kind(rank, layer.out_channels, 1, bias=False)
            self.gate = kind(layer.in_channels, config.experts, **window) if self._mixes else None
        nn.init.zeros_(self.up.weight)
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            assert self.gate.bias is not None
            nn.init.zeros_(self.gate.bias)
        channels = len(layer.weight)
        self.scale_O = nn.Parameter(torch.zeros(channels)) if config.scale else None
        # a layer without a bias could not take in a shift
        self.shift_O = (
            nn.Parameter(torch.zeros(channels)) if config.scale and layer.bias is not None else None
        )

    @property
    def _mixes(self) -> bool:
        return self._experts > 1

    def forward(self, input: Tensor, output: Tensor) -> Tensor:
        """The adapted output of the layer, from its input and its own output."""
        hidden = self.down(input)
        if self._relu:
            hidden = torch.relu(hidden)
        if self.gate is not None:
            channels = -1 if isinstance(self.down, nn.Linear) else 1
            weights = torch.softmax(self.gate(input), dim=channels)
            # every channel of an expert has its weight
            hidden = hidden * weights.repeat_interleave(len(self.down.weight) // self._experts, dim=channels)
        if self.scale_O is not None:
            output = output * (1 + self._along_channels(self.scale_O))
        if self.shift_O is not None:
            output = output + self._along_channels(self.shift_O)
        result: Tensor = output + self.up(hidden)
        return result

    def _along_channels(self, values_O: Tensor) -> Tensor:
        """Shaped to be broadcast over outputs of the layer."""
        return values_O.view(-1, *[1] * (self.up.weight.ndim - 2))

    @torch.no_grad()
    def merge_into(self, layer: Layer) -> None:
        """Give the layer the weights of itself with this adapter; only without activation and mixture."""
        if self.scale_O is not None:
            layer.weight *= (1 + self.scale_O).view(-1, *[1] * (layer.weight.ndim - 1))
            if layer.bias is not None:
                layer.bias *= 1 + self.scale_O
        if self.shift_O is not None:
            assert layer.bias is not None
            layer.bias += self.shift_O
        product_OI = self.up.weight.flatten(1) @ self.down.weight.flatten(1)
        layer.weight += product_OI.unflatten(1, self.down.weight.shape[1:])


def attach_adapters(network: nn.Module, config: AdaptersConfig) -> None:
    """Give the layers of a network adapters, in place; its output stays as it is until they are trained.

    Raises:
        InputError: a name of ``only`` is of no layer.
    """
    layers = {name: layer for name, layer in network.named_modules() if _takes_adapter(layer)}
    for pattern in config.only:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise InputError(
                f"adapters.only: no linear layer or convolution is called {pattern!r}",
                hint=f"the network has, for example, {', '.join(list(layers)[:3])}",
            )
    for name, layer in layers.items():
        if not config.only or any(fnmatchcase(name, pattern) for pattern in config.only):
            assert isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d))
            layer.add_module(_NAME, Adapter(layer, config))
            layer.register_forward_hook(_adapted)


def merged(network: N) -> N:
    """A copy whose layers have taken in their adapters; of linear, unmixed adapters only.

    >>> merged(encoder)(features)     # equals encoder(features)
    """
    found = copy.deepcopy(network)
    for layer in list(found.modules()):
        adapter = layer._modules.pop(_NAME, None)
        if adapter is not None:
            assert isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)) and isinstance(adapter, Adapter)
            layer._forward_hooks.clear()
            adapter.merge_into(layer)
    return found


def without_adapters(network: N) -> N:
    """A copy as it was before `attach_adapters`, but for norms that were trained."""
    found = copy.deepcopy(network)
    for layer in found.modules():
        if layer._modules.pop(_NAME, None) is not None:
            layer._forward_hooks.clear()
    return found


def is_of_adapter(name: str) -> bool:
    """Whether a parameter, by its name in a network, belongs to an adapter."""
    return f".{_NAME}." in f".{name}"


def adapter_weights(network: nn.Module, config: AdaptersConfig) -> dict[str, Tensor]:
    """All that adapters change, by its names in the network: also these norms and their running averages."""
    found = {name: value for name, value in network.state_dict().items() if is_of_adapter(name)}
    for name, module in network.named_modules():
        if config.norms and isinstance(module, nn.modules.batchnorm._BatchNorm):
            own = module.state_dict(prefix=f"{name}.")
            found |= {key: value for key, value in own.items() if value.is_floating_point()}
    return found


def _adapted(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """A forward hook: the output of the layer and of its adapter."""
    adapted: Tensor = layer.get_submodule(_NAME)(inputs[0], output)
    return adapted


def _takes_adapter(layer: nn.Module) -> bool:
    if type(layer) is nn.Linear:
        return True
    return type(layer) in (nn.Conv1d, nn.Conv2d) and bool(layer.groups == 1)
