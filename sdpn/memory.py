"""Memory: keeping freed memory in the process, and recognising out-of-memory errors."""

from __future__ import annotations

import ctypes
import errno
import logging
import sys

_log = logging.getLogger(__name__)

# mallopt's parameters, from glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MMAP_THRESHOLD_BYTES = 32 << 20  # glibc's own limit

#: Out-of-memory messages of torch: on the CPU, on a GPU, in shared memory.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",
    "unable to allocate",
    "memoryerror",  # of another process, in a message
    "out of shared memory",
)


def keep_freed_memory(kept_mb: int) -> None:
    """Let the allocator keep freed memory instead of returning it to the system and requesting it again.

    glibc returns arrays of megabytes, such as the tensors of a layer or the spectra of a batch of crops, to
    the system at once, and new ones need fresh zeroed pages: a tenth of the time of extraction in fp32, a
    fifth in bf16, and two fifths of the time of filters in a loader. With other C libraries this has no
    effect.

    Args:
        kept_mb: free memory that the process may keep, in MB.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError) as error:
        _log.debug("no mallopt in this C library: %s", error)
        return
    mallopt(_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    mallopt(_TRIM_THRESHOLD, kept_mb << 20)
    mallopt(_TOP_PAD, _MMAP_THRESHOLD_BYTES)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: on the CPU, on a GPU, or in shared memory.

    Torch raises a `RuntimeError` with various messages for this; it is not imported here.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def peak_memory_mb() -> float | None:
    """The most memory that this process has held, in MB; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes on macOS, KiB elsewhere
