"""Failures of the machine that end a training: for want of memory, or because a loader process was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sdpn.errors import InputError
from sdpn.memory import is_out_of_memory
from sdpn.training.config import TrainingConfig

_AGAIN = "the same command goes on from the last checkpoint"


@contextmanager
def failures_explained(config: TrainingConfig) -> Iterator[None]:
    """Say in one line what to change where memory ran out or a loader process is gone.

    Raises:
        InputError: that happened inside the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        said = str(error)
        loading = f"training.cache_mb (now {config.cache_mb}) or training.workers (now {config.workers})"
        if "DataLoader worker" in said and "Caught" not in said:
            raise InputError(
                f"a loader process was killed, most likely by the system for want of memory ({_line(said)})",
                hint=f"lower {loading}; {_AGAIN}",
            ) from error
        if not is_out_of_memory(error):
            raise
        parts = config.accumulate
        smaller = (
            f"training.accumulate={2 * parts} (now {parts}), which halves what a batch needs, or a smaller "
            f"training.batch_size (now {config.batch_size})"
        )
        raise InputError(
            f"ran out of memory ({_line(said) or type(error).__name__})",
            # what a batch goes through belongs to the run; how it is loaded does not
            hint=f"begin anew, with another --out, with {smaller}"
            if "cuda" in said.lower()
            else f"lower {loading}: {_AGAIN}; or begin anew, with another --out, with {smaller}",
        ) from error


def _line(said: str) -> str:
    """What happened, without the traceback that torch puts into messages from other processes."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[-1] if lines[0].startswith("Caught ") else lines[0]
    return line if len(line) <= 200 else f"{line[:200]}…"
