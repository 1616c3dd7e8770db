"""System failures that end training: out of memory, or a killed loader process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sdpn.errors import InputError
from sdpn.memory import is_out_of_memory
from sdpn.training.config import TrainingConfig

_AGAIN = "rerun the command to resume from the last checkpoint"


@contextmanager
def failures_explained(config: TrainingConfig) -> Iterator[None]:
    """Turn an out-of-memory error or a killed loader process into an `InputError` with a hint.

    Raises:
        InputError: memory ran out, or a loader process was killed.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        text = str(error)
        loading = f"training.cache_mb (now {config.cache_mb}) or training.workers (now {config.workers})"
        if "DataLoader worker" in text and "Caught" not in text:
            raise InputError(
                "a loader process was killed, most likely because the system ran out of memory "
                f"({_line(text)})",
                hint=f"lower {loading}; {_AGAIN}",
            ) from error
        if not is_out_of_memory(error):
            raise
        parts = config.accumulate
        smaller = (
            f"training.accumulate={2 * parts} (now {parts}), which halves the memory of a batch, or a "
            f"smaller training.batch_size (now {config.batch_size})"
        )
        raise InputError(
            f"ran out of memory ({_line(text) or type(error).__name__})",
            # accumulate and batch_size are fixed for a run; loader settings are not
            hint=f"start a new run with another --out and {smaller}"
            if "cuda" in text.lower()
            else f"lower {loading}: {_AGAIN}; or start a new run with another --out and {smaller}",
        ) from error


def _line(text: str) -> str:
    """The error message without the traceback that torch adds to messages from other processes."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[-1] if lines[0].startswith("Caught ") else lines[0]
    return line if len(line) <= 200 else f"{line[:200]}…"
