"""Outputs of one layer of a network as rows to cluster: discrete units, or a look inside.

The only file of this folder that needs torch; nothing imports it until a network is given.

Shapes: B batch, T frames, D features of the layer, N rows.
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

#: A batch: the network's input, alone or with the share (B,) of each item that is not padding.
Batch = Tensor | tuple[Tensor, Tensor]


class _LayerReached(Exception):
    """Carries the output of a layer."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def numbered_layers(network: nn.Module) -> list[str]:
    """The names of the layers that have a number, from 0: the steps of the network in their order.

    Steps are the network's own parts; where one is a ``Sequential`` or ``ModuleList``, the parts of that. A
    network that only wraps another one is numbered like the one inside.
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
    """The name of a layer in ``network.named_modules()``.

    Args:
        network: where it is looked for.
        layer: a name, such as ``blocks.1``, or a number in `numbered_layers`, from 0.

    Raises:
        InputError: no such layer; those that exist are listed.
    """
    numbered = numbered_layers(network)
    names = [name for name, _ in network.named_modules() if name]
    if isinstance(layer, str) and layer in names:
        return layer
    if isinstance(layer, int) and 0 <= layer < len(numbered):
        return numbered[layer]
    if not names:
        raise InputError(f"the network has no layer {layer!r}", hint="it has no layers that torch knows of")
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(numbered))
    deeper = [name for name in names if name not in numbered]
    raise InputError(
        f"the network has no layer {layer!r}",
        hint=f"expected one of: {listed}" + (f"; or by name: {', '.join(deeper)}" if deeper else ""),
    )


def layer_output(network: nn.Module, layer: str, *inputs: Any) -> Any:
    """What a layer gives when the network is applied to inputs; what comes after the layer is not computed.

    The network is in evaluation mode meanwhile, and then as it was.

    Args:
        network: what is applied.
        layer: its name, of `find_layer`. Of a layer that is used several times, the first output counts.
        inputs: of the network, on its device.

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
    """Run a network over batches and yield what one of its layers gives, on the CPU.

    The network is in evaluation mode for each batch, and as it was in between. Padded frames are left out:
    they would form clusters of their own.

    Args:
        batches: inputs as the network takes them, in the first place of a pair where lengths come along
            (relative to the longest, as in SpeechBrain).
        network: the encoder.
        layer: its name in ``network.named_modules()``, such as ``blocks.1``, or its number in
            `numbered_layers`.
        feature_axis: axis of D in an output of three axes: 1 for (B, D, T), 2 for (B, T, D).
        device: where the network runs; it is moved there.

    Yields:
        (N, D) float32: all frames of the items of a batch, one after the other. Channels and bands of a
        two-dimensional convolution (B, C, F, T) are the D = C·F features of a frame.

    Raises:
        InputError: no such layer, it was not used, or it gives no tensor of two to four axes.
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
    """The rows (N, D) float32 in an output: its frames, or its items where it has no time.

    Args:
        output: (B, D), (B, D, T), (B, T, D) or (B, C, F, T).
        shares_B: share of each item that is not padding; None: nothing is.
        what: what errors call it.
        feature_axis: see `layer_rows`; (B, C, F, T) has 1.

    Raises:
        InputError: it is anything else.
    """
    axes = (2, 3, 4) if feature_axis == 1 else (2, 3)
    if not isinstance(output, Tensor) or output.ndim not in axes:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f"{what} gives {shape}; expected (batch, features) or three axes")
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
    """Write what a layer gives for all batches to chunks that k-means can pass over as often as it needs.

    The network then runs once, and not in every epoch.

    Args:
        batches: see `layer_rows`.
        network: see there.
        layer: see there.
        folder: for the chunks; replaced when all is written.
        feature_axis: see there.
        device: see there.
        rows_per_chunk: that many rows are held in memory.

    Returns:
        the chunks' files, for `sdpn.kmeans.compatibility.train` or ``sdpn kmeans``.

    Raises:
        InputError: see there, or there are no batches.
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
    """Rows (N, D) of a batch as SpeechBrain's recipes have it, ``ssl_model(wavs, wav_lens)[ssl_layer_num]``.

    Args:
        batch: with ``sig``, a pair of waveforms (B, S) and relative lengths (B,); such a pair; or the
            waveforms alone, which then are all that the model is given.
        ssl_model: gives the hidden states of all its layers, (L, B, T, D) or a sequence of L (B, T, D); or
            any network, whose layers are then found by name, or by number in `numbered_layers`.
        ssl_layer_num: the layer. A number counts the hidden states, where the model gives those, from the
            end where it is negative.
        device: where the model runs; it is moved there.
        feature_axis: of a layer that is found inside the network; see `layer_rows`.

    Raises:
        InputError: no such layer, or an output that has no rows.
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
                    hint=f"it gives the hidden states of {len(states)}, 0 to {len(states) - 1}",
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
