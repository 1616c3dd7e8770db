"""Teacher logits to balanced soft assignments of utterances to prototypes.

Shapes: B rows (the batch), K prototypes.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def assign(teacher_logits_BK: Tensor, *, sharpening: float, iterations: int) -> Tensor:
    """Sharpen the teacher's distribution and balance it with Sinkhorn-Knopp, all in log space.

    The published form is q = softmax(s)^(1/T), renormalised, then Sinkhorn (arXiv 2308.02774, section II-B;
    Sinkhorn-Knopp as in SwAV, arXiv 2006.09882). A power of a softmax is the softmax of scaled logits, and a
    Sinkhorn step is a subtraction of log-sums: nothing here can overflow, underflow to a zero row, or divide
    by zero.

    Args:
        teacher_logits_BK: (B, K), cosine over temperature τ. B is the batch over which usage is balanced.
        sharpening: T; 0.25 gives a softmax four times as sharp.
        iterations: Sinkhorn iterations; 0 leaves the sharpened softmax.

    Returns:
        (B, K) without gradient; each row sums to 1. float64 stays float64, everything else is float32.
    """
    logits_BK = teacher_logits_BK if teacher_logits_BK.dtype == torch.float64 else teacher_logits_BK.float()
    log_BK = torch.log_softmax(logits_BK / sharpening, dim=1)
    for _ in range(iterations):
        log_BK = log_BK - torch.logsumexp(log_BK, dim=0, keepdim=True)  # every prototype is used equally
        log_BK = log_BK - torch.logsumexp(log_BK, dim=1, keepdim=True)  # every utterance is assigned once
    return log_BK.exp()
