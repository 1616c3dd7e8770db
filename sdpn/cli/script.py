"""What the scripts of recipes and tools share: how bad input ends them, and where their figures come from."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from sdpn.errors import InputError

Arguments = ParamSpec("Arguments")


def script(main: Callable[Arguments, int | None]) -> Callable[Arguments, int]:
    """The main function of a script, which returns its exit code: bad input is one line on stderr, and 2.

    Args:
        main: does the work, and returns an exit code if it is not 0.
    """

    @wraps(main)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except InputError as error:
            print(f"{Path(main.__code__.co_filename).name}: error: {error}", file=sys.stderr)
            return 2

    return run


def commit_of(file: str | os.PathLike[str]) -> str:
    """The commit of a script, with ``-dirty`` if files have changed since; ``not known`` without git."""
    command = ["git", "-C", str(Path(file).resolve().parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run([*command, "--exclude", "*"], capture_output=True, text=True)
    except OSError:  # there is no git
        return "not known"
    return done.stdout.strip() or "not known"


def measured_on(file: str | os.PathLike[str], card: str | None) -> str:
    """Two lines above a table of measured times: the hardware, and versions of torch, sdpn and the script.

    Args:
        file: the script.
        card: name of the GPU; None for none.
    """
    import torch  # scripts of recipes do without it

    from sdpn import __version__

    return (
        f"{card or 'no GPU'}; {machine_kind()}; {torch.get_num_threads()} threads\n"
        f"torch {torch.__version__}, sdpn {__version__}, commit {commit_of(file)}"
    )


def machine_kind() -> str:
    """Processor, architecture and operating system, which figures of cost depend on; no name of a machine."""
    processor = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
            processor = next(named, processor)
    except OSError:  # not Linux
        pass
    return ", ".join(dict.fromkeys(filter(None, (processor, platform.machine(), platform.system()))))
