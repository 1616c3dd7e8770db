"""Batch norm over the rows of all processes, on CPUs too.

Without it, two processes with half a batch each normalise by other statistics than one process with all of
it, and the run depends on how many there are. torch's `SyncBatchNorm` does this on GPUs; on CPUs, where the
processes are connected by gloo, it raises. `synchronise_batch_norms` installs what each can use.

Shapes: B rows, C channels, L frames.

Source: mean and variance of the parts of a batch are combined as in Chan, Golub and LeVeque (1979), equations
2.1, which does not cancel as the difference of squares does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.functional import batch_norm


class CrossRankBatchNorm(nn.modules.batchnorm._BatchNorm):
    """`torch.nn.SyncBatchNorm` for CPUs, which DDP refuses to take there.

    In evaluation mode, and without a process group, it is ordinary batch norm.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C) or (B, C, L) by the statistics of the rows of all processes."""
        if not self._synchronises():
            return super().forward(input)
        output, mean_C, variance_C, count = _Normalise.apply(input, self.weight, self.bias, self.eps)
        if self.training and self.track_running_stats:
            self._observe(mean_C, variance_C, count)
        normalised: Tensor = output
        return normalised

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, found {input.dim()}")

    def _synchronises(self) -> bool:
        by_batch = self.training or self.running_mean is None
        return by_batch and dist.is_initialized() and dist.get_world_size() > 1

    @torch.no_grad()
    def _observe(self, mean_C: Tensor, variance_C: Tensor, count: Tensor) -> None:
        """Update the running averages: of the unbiased variance, as torch does."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), momentum)
        unbiased_C = variance_C * (count / (count - 1))
        self.running_var.lerp_(unbiased_C.to(self.running_var.dtype), momentum)


class _Normalise(torch.autograd.Function):
    """Batch norm with one collective in each direction."""

    @staticmethod
    def forward(
        ctx: Any, input_BCL: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide_BCL = input_BCL.detach().to(_statistics_dtype(input_BCL.dtype))
        dims = _all_but_channels(wide_BCL)
        own_variance_C, own_mean_C = torch.var_mean(wide_BCL, dims, correction=0)
        own_count = own_mean_C.new_full((1,), wide_BCL.numel() / wide_BCL.shape[1])
        own = torch.cat([own_mean_C, own_variance_C, own_count])
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own)
        all_P = torch.stack(parts)
        mean_PC, variance_PC, count_P1 = all_P.split([len(own_mean_C), len(own_mean_C), 1], dim=1)
        count = count_P1.sum()
        mean_C = (count_P1 * mean_PC).sum(0) / count
        variance_C = (count_P1 * (variance_PC + (mean_PC - mean_C) ** 2)).sum(0) / count
        output_BCL = batch_norm(
            wide_BCL, mean_C, variance_C, _as(weight_C, wide_BCL), _as(bias_C, wide_BCL), False, 0.0, eps
        )
        ctx.save_for_backward(wide_BCL, weight_C, mean_C, torch.rsqrt(variance_C + eps), count)
        ctx.mark_non_differentiable(mean_C, variance_C, count)
        return output_BCL.to(input_BCL.dtype), mean_C, variance_C, count

    @staticmethod
    def backward(
        ctx: Any, gradient_BCL: Tensor, *_others: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        input_BCL, weight_C, mean_C, scale_C, count = ctx.saved_tensors
        wide_BCL = gradient_BCL.to(input_BCL.dtype)
        dims = _all_but_channels(input_BCL)
        shape = (1, -1, *(1 for _ in input_BCL.shape[2:]))
        normalised_BCL = (input_BCL - mean_C.view(shape)) * scale_C.view(shape)
        own_bias_C, own_weight_C = wide_BCL.sum(dims), (wide_BCL * normalised_BCL).sum(dims)
        sums = torch.cat([own_bias_C, own_weight_C])
        dist.all_reduce(sums)
        bias_C, by_weight_C = (sums / count).chunk(2)
        inner_BCL = wide_BCL - bias_C.view(shape) - normalised_BCL * by_weight_C.view(shape)
        factor_C = scale_C if weight_C is None else scale_C * weight_C.to(scale_C.dtype)
        return (
            (inner_BCL * factor_C.view(shape)).to(gradient_BCL.dtype),
            None if weight_C is None else own_weight_C.to(weight_C.dtype),  # DDP averages them, as all others
            None if weight_C is None else own_bias_C.to(weight_C.dtype),
            None,
        )


def synchronise_batch_norms(module: nn.Module, device: str = "cpu") -> None:
    """Make every batch norm inside a module one over all processes, with the same parameters and buffers.

    Args:
        module: the module; itself no batch norm.
        device: where it computes: on ``cuda`` torch's own is used.
    """
    if device == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, CrossRankBatchNorm):
            setattr(module, name, _converted(child))
        else:
            synchronise_batch_norms(child, device)


def _converted(norm: nn.modules.batchnorm._BatchNorm) -> CrossRankBatchNorm:
    with torch.device("meta"):  # its own tensors are not needed
        converted = CrossRankBatchNorm(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
    converted.weight, converted.bias = norm.weight, norm.bias
    converted.running_mean, converted.running_var = norm.running_mean, norm.running_var
    converted.num_batches_tracked = norm.num_batches_tracked
    return converted.train(norm.training)


def _all_but_channels(input_BCL: Tensor) -> list[int]:
    return [0, *range(2, input_BCL.dim())]


def _statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _as(tensor: Tensor | None, like: Tensor) -> Tensor | None:
    return None if tensor is None else tensor.detach().to(like.dtype)
