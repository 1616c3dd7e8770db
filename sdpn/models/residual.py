"""Two-dimensional residual blocks over frequency and time (He et al., arXiv 1512.03385).

A convolution with a kernel of 3 sees its neighbours in time, so its input is zeroed where it is padding.

Shapes: B batch, C channels, F frequency, T frames. Strides are (frequency, time).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdpn.features.lengths import hide, stride_mask

Stride = tuple[int, int]


def conv3x3(num_in: int, num_out: int, stride: Stride = (1, 1)) -> nn.Conv2d:
    """Convolution with one zero of padding all round."""
    return nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)


def conv1x1(num_in: int, num_out: int, stride: Stride = (1, 1)) -> nn.Conv2d:
    """Convolution of single points."""
    return nn.Conv2d(num_in, num_out, 1, stride=stride, bias=False)


def shortcut(num_in: int, num_out: int, stride: Stride) -> nn.Sequential:
    """The shortcut of a block: the identity if the shapes agree, else a 1x1 convolution and a norm."""
    if stride == (1, 1) and num_in == num_out:
        return nn.Sequential()
    return nn.Sequential(conv1x1(num_in, num_out, stride), nn.BatchNorm2d(num_out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, num_in: int, channels: int, stride: Stride = (1, 1)) -> None:
        super().__init__()
        self.conv1 = conv3x3(num_in, channels, stride)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut(num_in, channels, stride)
        self.time_stride = stride[1]

    def forward(self, input_BCFT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Transform (B, C, F, T) to (B, C', F / stride, T / stride)."""
        hidden = torch.relu(self.norm1(self.conv1(hide(input_BCFT, mask_BT))))
        hidden = self.norm2(self.conv2(hide(hidden, stride_mask(mask_BT, self.time_stride))))
        return torch.relu(hidden + self.shortcut(input_BCFT))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the channels."""

    expansion = 4

    def __init__(self, num_in: int, channels: int, stride: Stride = (1, 1)) -> None:
        super().__init__()
        num_out = self.expansion * channels
        self.conv1 = conv1x1(num_in, channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, num_out)
        self.norm3 = nn.BatchNorm2d(num_out)
        self.shortcut = shortcut(num_in, num_out, stride)
        self.time_stride = stride[1]

    def forward(self, input_BCFT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Transform (B, C, F, T) to (B, C', F / stride, T / stride)."""
        hidden = torch.relu(self.norm1(self.conv1(input_BCFT)))
        hidden = torch.relu(self.norm2(self.conv2(hide(hidden, mask_BT))))
        return torch.relu(self.norm3(self.conv3(hidden)) + self.shortcut(input_BCFT))


class Stage(nn.ModuleList):
    """Blocks one after the other; the first has the stride."""

    def __init__(self, blocks: list[nn.Module], time_stride: int) -> None:
        super().__init__(blocks)
        self.time_stride = time_stride

    def forward(self, hidden: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Run the blocks; returns the output and its mask."""
        for index, block in enumerate(self):
            hidden = block(hidden, mask_BT)
            if index == 0:
                mask_BT = stride_mask(mask_BT, self.time_stride)
        return hidden, mask_BT


class EmbeddingLayers(nn.Module):
    """One linear layer, or two with ReLU and a batch norm without weights between them."""

    def __init__(self, num_in: int, embedding_dim: int, *, two_layers: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(num_in, embedding_dim)
        self.norm = nn.BatchNorm1d(embedding_dim, affine=False) if two_layers else None
        self.linear2 = nn.Linear(embedding_dim, embedding_dim) if two_layers else None

    def forward(self, pooled_BP: Tensor) -> Tensor:
        """Map (B, P) to (B, D)."""
        embedding_BD: Tensor = self.linear1(pooled_BP)
        if self.norm is not None and self.linear2 is not None:
            embedding_BD = self.linear2(self.norm(torch.relu(embedding_BD)))
        return embedding_BD
