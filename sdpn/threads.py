"""How many threads this process may use."""

from __future__ import annotations

import os
import sys


def usable_threads() -> int:
    """OMP_NUM_THREADS if set, as by torchrun, else the number of cores available to this process.

    Where torch is loaded, its own number of threads, which a program may have set, is the limit.
    """
    available = usable_cores()
    if (torch := sys.modules.get("torch")) is not None:
        return int(min(torch.get_num_threads(), available))
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # one number for each level
    return min(int(first), available) if first.isdecimal() and int(first) else available


def usable_cores() -> int:
    """The number of cores available to this process, whatever OMP_NUM_THREADS says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
