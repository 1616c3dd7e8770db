"""The layers of a network: which there are, and what they give.

Shapes: B batch, F mel bins, T frames, C channels, D features of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sdpn.errors import InputError
from sdpn.kmeans.layer_features import find_layer

#: Frames of two inputs; the axis of an output whose size differs between them is time.
_FRAMES = (96, 128)


def main_layers(encoder: nn.Module) -> list[str]:
    """The layers that a network names itself, in order; a list of layers counts as its elements."""

    def steps(module: nn.Module, prefix: str) -> Iterator[str]:
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList):  # never called itself
                for index, element in enumerate(child):
                    if not isinstance(element, nn.ModuleList):
                        yield f"{prefix}{name}.{index}"
            else:
                yield prefix + name

    prefix, module = "", encoder
    while len(children := list(module.named_children())) == 1 and next(iter(children[0][1].children()), None):
        prefix, module = f"{prefix}{children[0][0]}.", children[0][1]
    return list(steps(module, prefix))


def chosen_layers(encoder: nn.Module, names: Sequence[str] | None) -> list[str]:
    """The layers asked for, by name or by number; None: the main ones.

    Raises:
        InputError: there is no such layer; the message lists those that there are.
    """
    if names is None:
        return main_layers(encoder)
    return [find_layer(encoder, int(name) if name.isdecimal() else name) for name in names]


@contextmanager
def watched(encoder: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the output of every layer while the network runs within the block, the first where it runs
    twice.

    Layers that do not run are missing.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, (tuple, list)) else output
            if isinstance(first, Tensor):
                outputs.setdefault(name, first)

        return hook

    handles = [encoder.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def time_axes(
    encoder: nn.Module, names: Sequence[str], num_mels: int, device: torch.device
) -> dict[str, int | None]:
    """Which axis of a layer's output is time; None where there is one output for the utterance.

    Layers that do not run, or whose output has no such form, are left out.
    """
    shapes: list[dict[str, torch.Size]] = []
    for frames in _FRAMES:
        with watched(encoder, names) as outputs:
            encoder(torch.zeros(1, num_mels, frames, device=device))
        shapes.append({name: output.shape for name, output in outputs.items()})
    axes: dict[str, int | None] = {}
    for name in names:
        short, long = shapes[0].get(name), shapes[1].get(name)
        if short is None or long is None or len(short) != len(long):
            continue
        changing = [axis for axis, sizes in enumerate(zip(short, long, strict=True)) if len(set(sizes)) > 1]
        if not changing:
            axes[name] = None
        elif changing == [len(short) - 1] or (len(short) == 3 and changing == [1]):
            axes[name] = changing[0]
    return axes


def over_frames(output: Tensor, axis: int | None) -> Tensor:
    """An output as (B, D, T): channels and bands are features of a frame; one per utterance has T = 1."""
    if axis is None:
        return output.flatten(1).unsqueeze(-1)
    if axis == output.ndim - 1:
        return output.flatten(1, -2) if output.ndim > 3 else output
    return output.transpose(1, 2)


def statistics(output: Tensor, axis: int | None) -> Tensor:
    """Mean and standard deviation over time (B, 2D) of an output; (B, D) of one output per utterance."""
    rows_BDT = over_frames(output, axis).float()
    if axis is None:
        return rows_BDT[..., 0]
    return torch.cat([rows_BDT.mean(-1), rows_BDT.std(-1, unbiased=False)], dim=1)


def require_frames(axes: dict[str, int | None], layer: str) -> None:
    """Check that a layer has an output for every frame.

    Raises:
        InputError: it has none; the message lists those that have.
    """
    if axes.get(layer) is None:
        having = ", ".join(name for name, axis in axes.items() if axis is not None)
        raise InputError(f"layer {layer!r} has no output for every frame", hint=f"expected one of: {having}")
