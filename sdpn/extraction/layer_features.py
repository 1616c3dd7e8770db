"""Outputs of one layer of a network as rows to cluster: discrete units, or a look inside.

Shapes: B batch, T frames, D features of the layer, N rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdpn.errors import InputError
from sdpn.kmeans.chunks import write_chunks

#: A batch: the network's input, alone or with the share (B,) of each item that is not padding.
Batch = Tensor | tuple[Tensor, Tensor]


def layer_rows(
    batches: Iterable[Batch], network: nn.Module, layer: str, *, feature_axis: int = 1, device: str = "cpu"
) -> Iterator[np.ndarray]:
    """Run a network over batches and yield what one of its layers gives, on the CPU.

    The network is in evaluation mode for each batch, and as it was in between. Padded frames are left out:
    they would form clusters of their own.

    Args:
        batches: inputs as the network takes them, in the first place of a pair where lengths come along
            (relative to the longest, as in SpeechBrain).
        network: the encoder.
        layer: its name in ``network.named_modules()``, such as ``blocks.1``.
        feature_axis: axis of D in an output of three axes: 1 for (B, D, T), 2 for (B, T, D).
        device: where the network runs; it is moved there.

    Yields:
        (N, D) float32: all frames of the items of a batch, one after the other.

    Raises:
        InputError: no such layer, it was not used, or it gives no tensor of two or three axes.
    """
    if feature_axis not in (1, 2):
        raise InputError(f"feature_axis is {feature_axis}; expected 1 or 2")
    module = dict(network.named_modules()).get(layer)
    if module is None or not layer:
        names = ", ".join(name for name, _ in network.named_modules() if name)
        raise InputError(f"the network has no layer {layer!r}", hint=f"expected one of: {names}")
    outputs: list[Any] = []
    network.to(device)
    for batch in batches:
        inputs, shares_B = batch if isinstance(batch, (tuple, list)) else (batch, None)
        was_training = network.training
        handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        try:
            with torch.inference_mode():
                network.eval()(inputs.to(device))
        finally:
            handle.remove()
            network.train(was_training)
        if not outputs:
            raise InputError(f"the network did not use its layer {layer!r}")
        output = outputs[0][0] if isinstance(outputs[0], (tuple, list)) else outputs[0]
        outputs.clear()
        yield _rows(output, shares_B, layer, feature_axis)


def _rows(output: Any, shares_B: Tensor | None, layer: str, feature_axis: int) -> np.ndarray:
    if not isinstance(output, Tensor) or output.ndim not in (2, 3):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f"layer {layer!r} gives {shape}; expected (batch, features) or three axes")
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
    layer: str,
    folder: str | os.PathLike[str],
    *,
    feature_axis: int = 1,
    device: str = "cpu",
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
