"""TF32: what a GPU of NVIDIA may round when it multiplies in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

#: ``training.tf32``
TF32Choice = Literal["none", "convolutions", "all"]


@contextmanager
def tf32(choice: TF32Choice) -> Iterator[None]:
    """Inside the block, inputs of these fp32 products keep 10 bits of their 23; sums are in fp32.

    torch by itself does so in convolutions. Matrix units multiply such numbers several times as fast. It has
    no effect on a CPU, nor on what autocast multiplies in bf16 or fp16.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32, matmul.allow_tf32 = choice != "none", choice == "all"
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
