"""Freed memory is kept: the allocator takes the setting, and arrays work as before."""

from __future__ import annotations

import torch

from sdpn.memory import keep_freed_memory


def test_memory_can_be_kept_more_than_once() -> None:
    keep_freed_memory(512)
    keep_freed_memory(128)
    assert torch.ones(1 << 22).sum() == 1 << 22
