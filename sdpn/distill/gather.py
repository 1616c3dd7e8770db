"""Gathering the batches of all processes, so that the objective does not depend on their number.

Every process computes the objective of the whole batch. DDP averages gradients over processes, so the
gradient of a process's own rows is multiplied by the number of processes: the average is then the gradient of
the whole batch, for the network and, without scaling, for the prototypes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def gather_batch(own_VBE: Tensor, dim: int = 1) -> Tensor:
    """Concatenate the rows of all processes in the order of their ranks.

    Args:
        own_VBE: (V, B, …), the same shape on every process.
        dim: dimension of the rows.

    Returns:
        (V, B · processes, …), equal on all processes; its gradient flows to this process's rows only,
        multiplied by the number of processes. Without a process group, ``own_VBE`` itself.
    """
    if not dist.is_initialized() or (world := dist.get_world_size()) == 1:
        return own_VBE
    parts = [torch.empty_like(own_VBE) for _ in range(world)]
    dist.all_gather(parts, own_VBE.detach().contiguous())
    if own_VBE.requires_grad:
        # the value of own_VBE, world times its gradient
        parts[dist.get_rank()] = own_VBE + (own_VBE - own_VBE.detach()) * (world - 1)
    return torch.cat(parts, dim=dim)
