"""Several gloo processes on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from tests.conftest import ROOT


def torchrun(
    processes: int, *command: str, max_restarts: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script, or ``-m`` a module, in so many processes of one core each."""
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*runner, f"--max-restarts={max_restarts}", *command],
        env=one_core(environment),
        capture_output=True,
        text=True,
        timeout=300,
    )


def one_core(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a process with one thread that finds the package."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}


def start_ranks(command: list[str], world: int = 2) -> list[subprocess.Popen[str]]:
    """The same command as every rank, without torchrun, which would end the others with the first."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    return [
        subprocess.Popen(
            command,
            env=one_core(
                {
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": port,
                    "RANK": str(rank),
                    "WORLD_SIZE": str(world),
                }
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
