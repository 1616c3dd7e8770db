"""A queue of recent teacher projections, for balancing with small batches.

Shapes: N rows, E projection, Q queue size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def ring_places(pushed: int, added: int, size: int, device: torch.device) -> Tensor:
    """Where the last rows of those added go, the oldest overwritten first, (min(added, size),) int64.

    Args:
        pushed: rows before.
        added: rows now.
        size: rows held.
        device: of the places.
    """
    return torch.arange(pushed + max(0, added - size), pushed + added, device=device) % size


class TeacherQueue(nn.Module):
    """The last ``size`` projections of the teacher, oldest overwritten first; saved with the module.

    As in SwAV (arXiv 2006.09882, section 4.1) it stores features instead of scores, which are recomputed with
    the current prototypes.

    Args:
        size: queue size Q; 0 disables the queue.
        projection_dim: E.
    """

    rows_QE: Tensor

    def __init__(self, size: int, projection_dim: int) -> None:
        super().__init__()
        self.register_buffer("rows_QE", torch.zeros(size, projection_dim))
        self._pushed = 0

    def __len__(self) -> int:
        """Return the number of rows held."""
        return min(self._pushed, len(self.rows_QE))

    def rows(self) -> Tensor:
        """Return the rows held, in no particular order, (len, E)."""
        return self.rows_QE[: len(self)]

    @torch.no_grad()
    def push(self, rows_NE: Tensor) -> None:
        """Add rows, overwriting the oldest."""
        size = len(self.rows_QE)
        if not size:
            return
        places = ring_places(self._pushed, len(rows_NE), size, self.rows_QE.device)
        self.rows_QE[places] = rows_NE[-size:].to(self.rows_QE.dtype)
        self._pushed += len(rows_NE)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of rows pushed, for ``state_dict``."""
        return {"pushed": self._pushed}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `get_extra_state`."""
        self._pushed = int(state["pushed"])
