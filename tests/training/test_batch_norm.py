"""Batch norm over the rows of all processes is batch norm of the whole batch, forwards and backwards."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from sdpn.training.batch_norm import CrossRankBatchNorm, synchronise_batch_norms
from tests.training.torchrun import start_ranks

#: Compares every value of ours on unequal parts of a batch with torch's on all of it.
_WORKER = """
import torch
from torch import nn
from sdpn.training.batch_norm import synchronise_batch_norms
from sdpn.training.distributed import process_group

def norm(affine, momentum):
    torch.manual_seed(5)
    made = nn.BatchNorm1d(3, affine=affine, momentum=momentum, dtype=dtype)
    if affine:
        nn.init.normal_(made.weight); nn.init.normal_(made.bias)
    return made

with process_group("cpu", 1.0) as processes:
    cases = [
        (torch.float64, (7, 3), True, 0.1), (torch.float64, (7, 3, 5), True, None),
        (torch.float64, (7, 3, 5), False, 0.0), (torch.float32, (7, 3, 50), True, 0.1),
    ]
    for dtype, shape, affine, momentum in cases:
        generator = torch.Generator().manual_seed(3)
        # far from zero: a difference of squares would cancel
        batch = torch.randn(shape, generator=generator, dtype=torch.float64).add(1e3).to(dtype)
        aim = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        rows = slice(0, 2) if processes.first else slice(2, 7)
        whole, parts = norm(affine, momentum), nn.Sequential(norm(affine, momentum))
        synchronise_batch_norms(parts)
        one, own = batch.clone().requires_grad_(), batch[rows].clone().requires_grad_()
        for _ in range(2):
            left, right = whole(one), parts(own)
        (left * aim).sum().backward()
        (right * aim[rows]).sum().backward()
        close = dict(rtol=1e-9, atol=1e-9) if dtype == torch.float64 else dict(rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(right, left[rows], **close)
        torch.testing.assert_close(own.grad, one.grad[rows], **close)
        for name, buffer in whole.named_buffers():
            torch.testing.assert_close(getattr(parts[0], name), buffer, **close)
        if affine:
            for name in ("weight", "bias"):
                shares = processes.gather(getattr(parts[0], name).grad)
                torch.testing.assert_close(sum(shares), getattr(whole, name).grad, **close)
        torch.testing.assert_close(parts.eval()(own), whole.eval()(one)[rows], **close)
    with torch.autocast("cpu", torch.bfloat16):
        half = nn.Sequential(nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3))
        synchronise_batch_norms(half)
        made = half(torch.randn(4, 3, 9))
        assert made.dtype == torch.bfloat16
        made.sum().backward()
        assert half[0].weight.grad is not None
print("equal", flush=True)
"""


@pytest.mark.slow  # beside two processes that train as one
def test_two_processes_normalise_as_one() -> None:
    ranks = start_ranks([sys.executable, "-c", _WORKER])
    for rank in ranks:
        said, errors = rank.communicate(timeout=120)
        assert rank.returncode == 0, errors
        assert said == "equal\n"


def test_alone_it_is_ordinary_batch_norm() -> None:
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.BatchNorm1d(3)), nn.BatchNorm1d(3))
    batch = torch.randn(6, 4)
    names = list(whole.state_dict())
    optimizer = torch.optim.SGD(whole.parameters())
    held = [id(tensor) for group in optimizer.param_groups for tensor in group["params"]]
    before = whole(batch)
    synchronise_batch_norms(whole)
    assert isinstance(whole[1][0], CrossRankBatchNorm) and isinstance(whole[2], CrossRankBatchNorm)
    assert list(whole.state_dict()) == names
    assert [id(tensor) for tensor in whole.parameters()] == held  # those of the optimizer
    torch.testing.assert_close(whole(batch), before, rtol=0, atol=0)
    again = whole[2]
    synchronise_batch_norms(whole)
    assert whole[2] is again
