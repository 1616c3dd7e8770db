"""Whether the processor supports bf16 natively."""

from __future__ import annotations

import torch


def computes_bf16(device_type: str) -> bool:
    """Whether the processor has instructions for bf16; emulation is several times slower than fp32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # private, but the only way to ask; a torch without them computes in fp32
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, question, bool)()) for question in questions)
