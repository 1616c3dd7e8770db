"""Outputs of a network's layer as rows for clustering, for example into discrete units.

The only module of this package that needs torch; it is imported only if a network is given.

Shapes: B batch, T frames, D layer dimension, N rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from sdpn.errors import InputError
from sdpn.kmeans.chunks import write_chunks

#: The names of torch for those who must not import it.
Module = nn.Module
Device = str | torch.device

#: A batch: the network's input, optionally with relative lengths (B,).
Batch = Tensor | tuple[Tensor, Tensor]


class _LayerReached(Exception):
    """Stops the forward pass and carries the output of the layer."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def numbered_layers(network: nn.Module) -> list[str]:
    """Names of the numbered layers, from 0: the network's top-level modules in order.

    A ``Sequential`` or ``ModuleList`` counts as its elements. A network that only wraps another one is
    numbered like the inner one.
    """

    def steps(module: nn.Module, prefix: str) -> Iterator[str]:
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential | nn.ModuleList):
                yield from steps(child, f"{prefix}{name}.")
            else:
                yield prefix + name

    prefix, module = "", network
    while len(children := list(module.named_children())) == 1 and next(iter(children[0][1].children()), None):
        prefix, module = f"{prefix}{children[0][0]}.", children[0][1]
    return list(steps(module, prefix))


def find_layer(network: nn.Module, layer: str | int) -> str:
    """Find the name of a layer in ``network.named_modules()``.

    Args:
        network: the network.
        layer: a name, such as ``blocks.1``, or a number in `numbered_layers`, from 0.

    Raises:
        InputError: there is no such layer; the message lists the layers.
    """
    numbered = numbered_layers(network)
    names = [name for name, _ in network.named_modules() if name]
    if isinstance(layer, str) and layer in names:
        return layer
    if isinstance(layer, int) and 0 <= layer < len(numbered):
        return numbered[layer]
    if not names:
        raise InputError(f"the network has no layer {layer!r}", hint="it has no submodules")
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(numbered))
    deeper = [name for name in names if name not in numbered]
    raise InputError(
        f"the network has no layer {layer!r}",
        hint=f"expected one of: {listed}" + (f"; or by name: {', '.join(deeper)}" if deeper else ""),
    )


def layer_output(network: nn.Module, layer: str, *inputs: Any) -> Any:
    """Compute the output of a layer, stopping the forward pass after it.

    The network is in evaluation mode during the call.

    Args:
        network: the network.
        layer: name of the layer, from `find_layer`. If it is used several times, its first output is
            returned.
        inputs: inputs of the network, on its device.

    Raises:
        InputError: the network did not use the layer.
    """

    def stop(_module: nn.Module, _inputs: Any, output: Any) -> NoReturn:
        raise _LayerReached(output)

    was_training = network.training
    handle = network.get_submodule(layer).register_forward_hook(stop)
    try:
        with torch.inference_mode():
            network.eval()(*inputs)
    except _LayerReached as reached:
        output = reached.output
        return output[0] if isinstance(output, (tuple, list)) else output
    finally:
        handle.remove()
        network.train(was_training)
    raise InputError(f"the network did not use its layer {layer!r}")


def layer_rows(
    batches: Iterable[Batch],
    network: nn.Module,
    layer: str | int,
    *,
    feature_axis: int = 1,
    device: Device = "cpu",
) -> Iterator[np.ndarray]:
    """Run a network over batches and yield the outputs of one layer, on the CPU.

    The network is in evaluation mode for each batch. Padded frames are left out: they would form their own
    clusters.

    Args:
        batches: inputs of the network, or pairs of inputs and lengths (relative to the longest, as in
            SpeechBrain).
        network: the network.
        layer: its name in ``network.named_modules()``, such as ``blocks.1``, or its number in
            `numbered_layers`.
        feature_axis: axis of D in an output of three axes: 1 for (B, D, T), 2 for (B, T, D).
        device: device of the network, which is moved there.

    Yields:
        (N, D) float32: the frames of all items of a batch, concatenated. Channels and bands of a
        two-dimensional convolution (B, C, F, T) are the D = C·F features of a frame.

    Raises:
        InputError: no such layer, it was not used, or its output is not a tensor of two to four axes.
    """
    if feature_axis not in (1, 2):
        raise InputError(f"feature_axis is {feature_axis}; expected 1 or 2")
    name = find_layer(network, layer)
    network.to(device)
    for batch in batches:
        inputs, shares_B = batch if isinstance(batch, (tuple, list)) else (batch, None)
        output = layer_output(network, name, inputs.to(device))
        yield frame_rows(output, shares_B, f"layer {name!r}", feature_axis)


def frame_rows(output: Any, shares_B: Tensor | None, what: str, feature_axis: int) -> np.ndarray:
    """Rows (N, D) float32 of an output: its frames, or its items if it has no time axis.

    Args:
        output: (B, D), (B, D, T), (B, T, D) or (B, C, F, T).
        shares_B: relative length of each item; None for no padding.
        what: name of the output in error messages.
        feature_axis: see `layer_rows`; (B, C, F, T) has 1.

    Raises:
        InputError: the output has another shape.
    """
    axes = (2, 3, 4) if feature_axis == 1 else (2, 3)
    if not isinstance(output, Tensor) or output.ndim not in axes:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f"{what} outputs {shape}; expected (batch, features) or three axes")
    output = output.detach()
    if output.ndim == 4:
        output = output.flatten(1, 2)
    if output.ndim == 2:
        return output.float().cpu().numpy()
    output_BTD = (output.transpose(1, 2) if feature_axis == 1 else output).float()
    num_items, num_frames, dimension = output_BTD.shape
    if shares_B is None:
        return output_BTD.reshape(num_items * num_frames, dimension).cpu().numpy()
    lengths_B = (shares_B.cpu() * num_frames).round().long().clamp(1, num_frames)
    inside_BT = torch.arange(num_frames) < lengths_B[:, None]
    return output_BTD[inside_BT].cpu().numpy()


def accumulate_features(
    batches: Iterable[Batch],
    network: nn.Module,
    layer: str | int,
    folder: str | os.PathLike[str],
    *,
    feature_axis: int = 1,
    device: Device = "cpu",
    rows_per_chunk: int = 100_000,
) -> list[Path]:
    """Write the outputs of a layer for all batches to chunks: the network runs once, not in every epoch.

    Args:
        batches: see `layer_rows`.
        network: see `layer_rows`.
        layer: see `layer_rows`.
        folder: folder of the chunks, written atomically.
        feature_axis: see `layer_rows`.
        device: see `layer_rows`.
        rows_per_chunk: rows of a chunk, which are held in memory.

    Returns:
        paths of the chunks, for `sdpn.kmeans.compatibility.train` or ``sdpn kmeans``.

    Raises:
        InputError: see `layer_rows`, or there are no batches.
    """
    rows = layer_rows(batches, network, layer, feature_axis=feature_axis, device=device)
    return write_chunks(rows, folder, rows_per_chunk=rows_per_chunk)


def ssl_rows(
    batch: Any,
    ssl_model: nn.Module,
    ssl_layer_num: str | int,
    device: Device = "cpu",
    *,
    feature_axis: int = 2,
) -> np.ndarray:
    """Rows (N, D) of a batch of SpeechBrain's recipes, ``ssl_model(wavs, wav_lens)[ssl_layer_num]``.

    Args:
        batch: an object with ``sig``, a pair of waveforms (B, S) and relative lengths (B,); such a pair; or
            waveforms only.
        ssl_model: a model that returns the hidden states of all layers, (L, B, T, D) or L times (B, T, D); or
            any network, whose layers are selected by name or by number in `numbered_layers`.
        ssl_layer_num: the layer: an index into the hidden states, if the model returns these, which may be
            negative; else a name or number.
        device: device of the model, which is moved there.
        feature_axis: see `layer_rows`; only for layers selected inside the network.

    Raises:
        InputError: no such layer, or an output of another shape.
    """
    signal = getattr(batch, "sig", batch)
    inputs, shares_B = signal if isinstance(signal, (tuple, list)) else (signal, None)
    arguments = [inputs.to(device)] + ([] if shares_B is None else [shares_B.to(device)])
    ssl_model.to(device)
    if isinstance(ssl_layer_num, int):
        was_training = ssl_model.training
        try:
            with torch.inference_mode():
                states = ssl_model.eval()(*arguments)
        finally:
            ssl_model.train(was_training)
        if _are_hidden_states(states):
            if not -len(states) <= ssl_layer_num < len(states):
                raise InputError(
                    f"the network has no layer {ssl_layer_num}",
                    hint=f"it returns {len(states)} hidden states, 0 to {len(states) - 1}",
                )
            return frame_rows(states[ssl_layer_num], shares_B, f"layer {ssl_layer_num}", feature_axis=2)
    name = find_layer(ssl_model, ssl_layer_num)
    return frame_rows(layer_output(ssl_model, name, *arguments), shares_B, f"layer {name!r}", feature_axis)


def _are_hidden_states(output: Any) -> bool:
    if isinstance(output, Tensor):
        return output.ndim == 4
    return isinstance(output, (tuple, list)) and all(
        isinstance(state, Tensor) and state.ndim == 3 for state in output
    )
