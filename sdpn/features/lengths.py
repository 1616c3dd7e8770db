"""Batches of utterances of different lengths: masks of speech and padding.

Utterances of different lengths are padded at the end to form one tensor. Embeddings must not depend on this,
so all operations along time have to exclude the padding. A mask marks it; ``None`` means a batch of equal
lengths without padding. The rules that keep padding out are few: a zero-padded convolution sees zeros beyond
the end (`hide`), a reflecting one sees the utterance's own mirror image (`reflect`), and averages and
attention leave padding out.

Shapes: B batch, T frames (or samples); tensors are (B, ..., T).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def mask_of(lengths_B: Tensor | None, num_frames: int) -> Tensor | None:
    """Boolean (B, T), true where a frame belongs to its utterance; None for equal lengths.

    Raises:
        ValueError: a length is below 1 or above the number of frames.
    """
    if lengths_B is None:
        return None
    if lengths_B.min() < 1 or lengths_B.max() > num_frames:
        raise ValueError(f"lengths must lie between 1 and the {num_frames} frames of the batch")
    return torch.arange(num_frames, device=lengths_B.device) < lengths_B.unsqueeze(1)


def stride_mask(mask_BT: Tensor | None, stride: int) -> Tensor | None:
    """The mask after a centred convolution with a stride: an output belongs to the frame it stands on."""
    return mask_BT if mask_BT is None or stride == 1 else mask_BT[:, ::stride]


def hide(hidden: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Zero the padding of (B, ..., T), as zero-padded convolutions expect beyond the end of an utterance."""
    if mask_BT is None:
        return hidden
    hidden_mask = ~_over_time(mask_BT, hidden)
    if hidden.device.type != "cpu":
        return hidden.masked_fill(hidden_mask, 0.0)
    # On CPUs filling takes seven times as long as copying; no more is filled than from the shortest's end on.
    shortest = int(mask_BT.all(0).sum())
    result = hidden.clone()
    result[..., shortest:].masked_fill_(hidden_mask[..., shortest:], 0.0)
    return result


def mean_over_time(hidden: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Average (B, ..., T) over the frames of each utterance: (B, ...)."""
    if mask_BT is None:
        return hidden.mean(-1)
    return hide(hidden, mask_BT).sum(-1) / _over_time(mask_BT, hidden).sum(-1)


def softmax_over_time(scores: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Softmax of (B, ..., T) over the frames of each utterance; padding gets the weight 0."""
    if mask_BT is not None:
        scores = scores.masked_fill(~_over_time(mask_BT, scores), -torch.inf)
    return scores.softmax(-1)


def reflect(hidden: Tensor, amount: int, mask_BT: Tensor | None = None) -> Tensor:
    """Extend (B, ..., T) by ``amount`` at both ends of every utterance, mirrored at its first and last frame.

    An utterance shorter than the amount is mirrored as often as it takes.

    Returns:
        (B, ..., T + 2 amount); of a shorter utterance, the mirror image follows its own last frame.
    """
    num_frames = hidden.shape[-1]
    if mask_BT is None and num_frames > amount:
        flat = hidden.reshape(-1, 1, num_frames) if hidden.ndim != 3 else hidden
        return functional.pad(flat, (amount, amount), mode="reflect").view(*hidden.shape[:-1], -1)
    lengths_B = (
        torch.full((len(hidden),), num_frames, device=hidden.device) if mask_BT is None else mask_BT.sum(1)
    )
    last_B1 = (lengths_B - 1).unsqueeze(1)
    position_T = torch.arange(-amount, num_frames + amount, device=hidden.device)
    # a triangle wave over 0 ... last ... 0; a single frame is its own mirror image
    phase_BT = position_T.remainder(2 * last_B1.clamp(min=1)).minimum(2 * last_B1)
    index_BT = torch.minimum(phase_BT, 2 * last_B1 - phase_BT).clamp(min=0)
    index = index_BT.view(len(hidden), *[1] * (hidden.ndim - 2), -1).expand(*hidden.shape[:-1], -1)
    return hidden.gather(-1, index)


def _over_time(mask_BT: Tensor, hidden: Tensor) -> Tensor:
    """The mask with as many axes as ``hidden``."""
    return mask_BT.view(len(mask_BT), *[1] * (hidden.ndim - 2), mask_BT.shape[-1])
