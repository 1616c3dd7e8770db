#!/usr/bin/env python3
"""Time, memory and launches of a training step, ours beside a plain loop, in turns in one process.

    tools/benchmarks/train_step.py --channels 1024 --batch 96 --global-s 4 --local-s 2   a GPU, minutes
    tools/benchmarks/train_step.py --channels 64 --batch 8 --turns 3 --steps 2           a CPU

Both train the same SDPN (ECAPA, projection head, EMA teacher, prototypes) from the same weights on the same
random crops. The plain loop has the habits of the published implementation: float32, anomaly detection, a
gradient norm of each tensor read by ``.item()`` for clipping, an EMA tensor by tensor, the loss read in every
step, the teacher in the same pass under ``no_grad``. It is also run without anomaly detection, and in bf16,
which shows how much each of these costs. Ours is `sdpn.training.step.Update`, which the training loop calls.

Columns: milliseconds of a step (median), how often that goes into the plain loop's, most memory in a step,
and what a step launches: operators, and values that the host reads (each waits for all that is queued).
Operators are counted on the CPU too, and tell what a GPU would be asked for.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sdpn.cli.table import format_markdown
from sdpn.config import load_config
from sdpn.data.crops import CropBatch
from sdpn.distill.base import Objective
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes, device_of
from sdpn.training.step import Update

Step = Callable[[CropBatch], None]


def main() -> None:
    """Measure all of them in turns and print a table."""
    parser = argparse.ArgumentParser(description="Time of a training step, beside a plain loop.")
    parser.add_argument("--channels", type=int, default=512, help="of ECAPA")
    parser.add_argument("--batch", type=int, default=32, help="utterances")
    parser.add_argument("--global-s", type=float, default=4.0, help="length of the global crop")
    parser.add_argument("--local-s", type=float, default=2.0, help="length of the four local crops")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--turns", type=int, default=5, help="each measures every side once")
    parser.add_argument(
        "--steps", type=int, default=10, help="of a side in a turn, after one that is not counted"
    )
    parser.add_argument(
        "settings", nargs="*", metavar="SETTING", help="of sdpn train, such as sdpn.queue_size=0"
    )
    args = parser.parse_args()
    device = device_of(args.device)
    settings = [
        f"encoder.channels={args.channels}",
        f"training.batch_size={args.batch}",
        "optimizer.kind=sgd",
    ]
    settings += [f"crops.global_s={args.global_s}", f"crops.local_s={args.local_s}", *args.settings]
    config = load_config(RunConfig, None, settings)
    torch.manual_seed(0)
    start = build(config)
    sides: dict[str, Step] = {
        "plain, as published": Plain(start, config, device, precision="fp32", anomaly=True),
        "plain, no anomaly detection": Plain(start, config, device, precision="fp32"),
        "plain, bf16": Plain(start, config, device, precision="bf16"),
        "sdpn, fp32": _ours(start, [*settings, "training.precision=fp32"], device),
        "sdpn, bf16": _ours(start, [*settings, "training.precision=bf16"], device),
    }
    batch = _batch(config, args.batch).to(device)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    memory_mb = dict.fromkeys(sides, 0.0)
    for _ in range(args.turns):
        for name, step in sides.items():
            step(batch)
            _forget_peak(device)
            held_mb = _memory_mb(device)
            _wait(device)
            started = time.perf_counter()
            for _ in range(args.steps):
                step(batch)
            _wait(device)
            seconds[name].append((time.perf_counter() - started) / args.steps)
            memory_mb[name] = max(memory_mb[name], _peak_mb(device) - held_mb)
    rows = []
    first = statistics.median(seconds["plain, as published"])
    for name, step in sides.items():
        with Launches() as launches:
            step(batch)
        median = statistics.median(seconds[name])
        rows.append(
            [
                *(name, f"{1000 * median:.0f}", f"{first / median:.2f}", f"{memory_mb[name]:.0f}"),
                *(str(launches.total), str(launches.reads)),
            ]
        )
    print(_machine(device))
    print(
        f"ECAPA-{args.channels}, {sum(p.numel() for p in start.student.parameters()):,} parameters, batch of "
        f"{args.batch}: a crop of {args.global_s:g} s and {config.crops.num_local} of {args.local_s:g} s; "
        f"{args.turns} turns of {args.steps} steps"
    )
    titles = ["side", "ms", "times as fast", "memory of a step, MB", "operators", "values read"]
    print(format_markdown(titles, rows))


def _batch(config: RunConfig, size: int) -> CropBatch:
    generator = torch.Generator().manual_seed(0)
    crops = config.crops
    return CropBatch(
        0.1 * torch.randn(crops.num_global, size, crops.global_samples, generator=generator),
        0.1 * torch.randn(crops.num_local, size, crops.local_samples, generator=generator),
        torch.arange(size),
    )


def _ours(start: Objective, settings: list[str], device: torch.device) -> Step:
    config = load_config(RunConfig, None, settings)
    update = Update(config, copy.deepcopy(start).to(device).train(), Processes(0, 1, device))

    def step(batch: CropBatch) -> None:
        update(batch, lr=0.01, momentum=0.99)

    return step


class Plain:
    """A training loop as one writes it first."""

    def __init__(
        self,
        start: Objective,
        config: RunConfig,
        device: torch.device,
        *,
        precision: str,
        anomaly: bool = False,
    ) -> None:
        self._network: Any = copy.deepcopy(start).to(device).train()
        self._clip = config.optimizer.clip_norm
        self._precision, self._anomaly, self._device = precision, anomaly, device.type
        trainable = [tensor for tensor in self._network.parameters() if tensor.requires_grad]
        self._optimizer = torch.optim.SGD(trainable, lr=0.01, momentum=0.9, weight_decay=5e-5, foreach=False)

    def __call__(self, batch: CropBatch) -> None:
        """One step."""
        network = self._network
        with torch.autograd.set_detect_anomaly(self._anomaly, check_nan=self._anomaly):
            with torch.autocast(self._device, torch.bfloat16, enabled=self._precision == "bf16"):
                terms = network(batch)
            self._optimizer.zero_grad()
            terms.total.backward()
        for tensor in network.parameters():
            if tensor.grad is not None:
                norm = tensor.grad.norm().item()
                if norm > self._clip:
                    tensor.grad.mul_(self._clip / (norm + 1e-6))
        self._optimizer.step()
        with torch.no_grad():
            for average, tensor in zip(
                network.teacher.parameters(), network.student.parameters(), strict=True
            ):
                average.mul_(0.99).add_(tensor.detach(), alpha=0.01)
        if not torch.isfinite(torch.tensor(terms.total.item())):
            sys.exit("the loss is not finite")


class Launches(TorchDispatchMode):
    """Counts operators, and values that the host reads."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count it."""
        self._counts[str(func.overloadpacket)] += 1
        return func(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        """All operators."""
        return sum(self._counts.values())

    @property
    def reads(self) -> int:
        """Values that the host has read."""
        return self._counts["aten._local_scalar_dense"]


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak: proc(5)


def _memory_mb(device: torch.device) -> float:
    return torch.cuda.memory_allocated(device) / 1e6 if device.type == "cuda" else _status_mb("VmRSS")


def _peak_mb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else _status_mb("VmHWM")


def _status_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main()
