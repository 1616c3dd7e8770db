"""Several gloo processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT


def torchrun(processes: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a script, or ``-m`` a module, in so many processes of one core each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run([*runner, *command], env=environment, capture_output=True, text=True, timeout=300)
