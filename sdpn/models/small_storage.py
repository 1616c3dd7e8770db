"""Weights in fewer bytes: zeros as one bit, numbers in 32, 16 or 8 bits. Read back, they are float32.

A tensor ``K`` with enough zeros is stored as ``K#mask``, a bit for each number, and ``K#values``, those that
are not zero; in 8 bits as ``K#codes`` and ``K#scale``, symmetric, with a scale for each row (output channel).
``K#shape`` is the shape of either. Other tensors are stored as they are.

Source of the 8 bits: Krishnamoorthi, "Quantizing deep convolutional networks", arXiv 1806.08342, section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

Bits: TypeAlias = Literal[32, 16, 8]

#: Numbers below which a tensor is stored as it is: biases and the like need their precision.
_FEWEST = 1024
_PARTS = ("mask", "values", "codes", "scale", "shape")


def pack_weights(weights: Mapping[str, Tensor], bits: Bits) -> dict[str, Tensor]:
    """Tensors to store in place of float32 weights.

    Args:
        weights: by name.
        bits: of the numbers that are not zero. 16 rounds to half precision, 8 to 255 steps of each row.
    """
    packed: dict[str, Tensor] = {}
    for name, value in weights.items():
        if not value.is_floating_point() or value.numel() < _FEWEST or value.ndim < 2:
            packed[name] = value.contiguous()
            continue
        dense = value.float().reshape(len(value), -1)
        numbers = dense
        if bits == 8:
            scale = dense.abs().amax(1).clamp(min=1e-12) / 127
            numbers = torch.round(dense / scale[:, None]).to(torch.int8)
            packed[f"{name}#scale"] = scale
        elif bits == 16:
            numbers = dense.half()
        held = numbers != 0
        key = f"{name}#codes" if bits == 8 else f"{name}#values"
        saved = (~held).sum() * numbers.element_size() > held.numel() / 8
        if not saved and bits != 8:
            packed[name] = numbers.reshape(value.shape).contiguous()
            continue
        if saved:
            packed[f"{name}#mask"] = torch.from_numpy(np.packbits(held.cpu().numpy()))
            numbers = numbers[held]
        packed[key] = numbers.flatten().contiguous()
        packed[f"{name}#shape"] = torch.tensor(value.shape, dtype=torch.int64)
    return packed


def unpack_weights(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that were packed; tensors that were stored as they are pass through.

    Raises:
        ValueError: parts of a tensor are missing or contradict each other.
    """
    names = dict.fromkeys(name.partition("#")[0] for name in stored)
    found: dict[str, Tensor] = {}
    for name in names:
        if name in stored:
            found[name] = stored[name]
            continue
        parts = {part: stored.get(f"{name}#{part}") for part in _PARTS}
        shape, numbers = parts["shape"], parts["values"] if parts["codes"] is None else parts["codes"]
        if shape is None or numbers is None or shape.ndim != 1 or not len(shape) or (shape <= 0).any():
            raise ValueError(f"{name} has no numbers or no shape")
        size = [int(one) for one in shape]
        total = int(np.prod(size, dtype=object))
        mask = parts["mask"]
        if mask is not None:
            if total > 8 * mask.numel() or mask.dtype != torch.uint8:
                raise ValueError(f"{name} has a mask of another size")
            held = torch.from_numpy(np.unpackbits(mask.cpu().numpy(), count=total).astype(bool))
            if int(held.sum()) != numbers.numel():
                raise ValueError(f"{name} has {numbers.numel()} numbers, and a mask of {int(held.sum())}")
            dense = torch.zeros(total, dtype=torch.float32)
            dense[held] = numbers.float().flatten()
        elif numbers.numel() == total:
            dense = numbers.float().flatten()
        else:
            raise ValueError(f"{name} has {numbers.numel()} numbers in place of {total}")
        if parts["codes"] is not None:
            scale = parts["scale"]
            if scale is None or scale.shape != (size[0],):
                raise ValueError(f"{name} has no scale for each row")
            dense = (dense.reshape(size[0], -1) * scale.float()[:, None]).flatten()
        found[name] = dense.reshape(size)
    return found
