"""A queue of recent teacher projections, for balancing with small batches.

Shapes: N rows, E projection, Q queue size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


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
        kept_NE = rows_NE[-size:]
        first = self._pushed + len(rows_NE) - len(kept_NE)
        places = torch.arange(first, first + len(kept_NE), device=self.rows_QE.device) % size
        self.rows_QE[places] = kept_NE.to(self.rows_QE.dtype)
        self._pushed += len(rows_NE)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of rows pushed, for ``state_dict``."""
        return {"pushed": self._pushed}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `get_extra_state`."""
        self._pushed = int(state["pushed"])
