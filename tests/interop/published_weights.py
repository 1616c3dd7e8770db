"""Small state dicts under the names that other toolkits publish, written out as they name them.

What the readers know about names is tables from ours to theirs; these lists are made the other way round.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _norm(state: dict[str, Tensor], key: str, size: int, *, affine: bool = True) -> None:
    if affine:
        state[f"{key}.weight"] = torch.rand(size) + 0.5
        state[f"{key}.bias"] = torch.randn(size) * 0.1
    state[f"{key}.running_mean"] = torch.randn(size) * 0.1
    state[f"{key}.running_var"] = torch.rand(size) + 0.5
    state[f"{key}.num_batches_tracked"] = torch.tensor(3)


def _layer(state: dict[str, Tensor], key: str, *shape: int) -> None:
    state[f"{key}.weight"] = torch.randn(shape) * 0.3
    state[f"{key}.bias"] = torch.randn(shape[0]) * 0.1


def resnet(*, channels: int = 4, embedding_dim: int = 6, two_layers: bool = False) -> dict[str, Tensor]:
    """A ResNet of one block a stage, as 3D-Speaker and WeSpeaker name it."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {"conv1.weight": torch.randn(channels, 1, 3, 3)}
    _norm(state, "bn1", channels)
    before = channels
    for stage in (1, 2, 3, 4):
        width, block = channels << (stage - 1), f"layer{stage}.0"
        state[f"{block}.conv1.weight"] = torch.randn(width, before, 3, 3) * 0.2
        _norm(state, f"{block}.bn1", width)
        state[f"{block}.conv2.weight"] = torch.randn(width, width, 3, 3) * 0.2
        _norm(state, f"{block}.bn2", width)
        if stage > 1:
            state[f"{block}.shortcut.0.weight"] = torch.randn(width, before, 1, 1)
            _norm(state, f"{block}.shortcut.1", width)
        before = width
    _layer(state, "seg_1", embedding_dim, 2 * before * 10)
    if two_layers:
        _norm(state, "seg_bn_1", embedding_dim, affine=False)
        _layer(state, "seg_2", embedding_dim, embedding_dim)
    return state


def ecapa(*, channels: int = 8, wide: int = 12, embedding_dim: int = 6) -> dict[str, Tensor]:
    """An ECAPA-TDNN as SpeechBrain and 3D-Speaker name it, with a Res2 scale of 2."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}

    def unit(key: str, *shape: int) -> None:
        _layer(state, f"{key}.conv.conv", *shape)
        _norm(state, f"{key}.norm.norm", shape[0])

    unit("blocks.0", channels, 80, 5)
    for block in ("blocks.1", "blocks.2", "blocks.3"):
        unit(f"{block}.tdnn1", channels, channels, 1)
        unit(f"{block}.res2net_block.blocks.0", channels // 2, channels // 2, 3)
        unit(f"{block}.tdnn2", channels, channels, 1)
        _layer(state, f"{block}.se_block.conv1.conv", 4, channels, 1)
        _layer(state, f"{block}.se_block.conv2.conv", channels, 4, 1)
    unit("mfa", wide, 3 * channels, 1)
    unit("asp.tdnn", 5, 3 * wide, 1)
    _layer(state, "asp.conv.conv", wide, 5, 1)
    _norm(state, "asp_bn.norm", 2 * wide)
    _layer(state, "fc.conv", embedding_dim, 2 * wide, 1)
    return state
