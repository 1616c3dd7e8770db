"""How much a training step suffers from busy processes beside it, one for each core, by OpenMP's wait policy.

    python tools/benchmarks/busy_machine.py

Prints seconds per step, each case in a process of its own, as a ratio to the step on the idle machine.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

_STEP = """
import time, torch
from sdpn.data.crops import CropBatch
from sdpn.training.build import build
from sdpn.training.config import RunConfig
run = RunConfig()
network = build(run).train()
crops, size = run.crops, run.training.batch_size
batch = CropBatch(
    torch.randn(crops.num_global, size, crops.global_samples) * 0.05,
    torch.randn(crops.num_local, size, crops.local_samples) * 0.05,
    torch.arange(size),
)
times = []
for _ in range(6):
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        total = network(batch).total
    total.backward()
    times.append(time.perf_counter() - started)
print(min(times[1:]))
"""


def _spin() -> None:
    while True:
        pass


def _step_s(policy: str) -> float:
    environment = {**os.environ, "OMP_WAIT_POLICY": policy}
    if policy == "unset":  # OpenMP's own choice
        del environment["OMP_WAIT_POLICY"]
    done = subprocess.run(
        [sys.executable, "-c", _STEP], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    policies = ("unset", "PASSIVE")
    idle = {policy: _step_s(policy) for policy in policies}
    hogs = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for hog in hogs:
        hog.start()
    busy = {policy: _step_s(policy) for policy in policies}
    for hog in hogs:
        hog.terminate()
    for policy in policies:
        print(
            f"{policy:<8} idle {idle[policy]:.2f} s   beside busy processes {busy[policy]:.2f} s   "
            f"ratio {busy[policy] / idle[policy]:.1f}"
        )


if __name__ == "__main__":
    main()
