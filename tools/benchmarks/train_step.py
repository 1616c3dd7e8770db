#!/usr/bin/env python3
"""Time, memory and launches of a training step, ours beside the published implementation or a plain loop.

    tools/benchmarks/train_step.py --channels 1024 --batch 96                          a GPU, minutes
    tools/benchmarks/train_step.py --channels 512 --batch 8 --turns 3 --steps 2        a CPU
    tools/benchmarks/train_step.py --reference ../3D-Speaker ...                       beside a checkout of it

The network is that of conf/reference.yaml, with so many channels and three times as many after the
aggregation: 22.7 M parameters with 1024, as published. With --reference, a step of the published
implementation is run by its own modules, by `reference_step.py`, which has to lie beside this script. Else
the script needs only the package. The plain loop, which is always there, trains our network with the
habits of that implementation: float32, anomaly detection, a gradient norm of each tensor read by
``.item()`` for clipping, an EMA tensor by tensor, the loss read in every step, the teacher in the same pass
under ``no_grad``. Both are also run without anomaly detection, and in bf16, which shows how much each of
these costs. Ours is `sdpn.training.step.Update`, which the training loop calls. All sides are timed in
turns in one process.

Columns: milliseconds of a step (median) and of the processors in it, which other work on the machine
changes less; how often the first side's go into that; most memory of a process that runs this side alone,
beyond what it had before there was a network; and what a step launches: operators, and values that the host
reads (each waits for all that is queued). Operators are counted on the CPU too, and tell what a GPU would
be asked for. Below it, the arithmetic of a step and what the device multiplies in a second: no step can be
faster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from sdpn.cli.script import measured_on, script
from sdpn.cli.table import format_markdown
from sdpn.config import load_config
from sdpn.data.crops import CropBatch
from sdpn.distill.base import Objective
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes, device_of
from sdpn.training.step import Update

Step = Callable[[CropBatch], None]

#: What conf/reference.yaml says of a step; this script needs no more than the wheel.
PUBLISHED = [
    *("features.low_hz=0.0", "features.high_hz=8000.0", "features.normalisation=mean-variance"),
    *("encoder.channels=1024", "encoder.aggregation_channels=3072", "encoder.embedding_dim=512"),
    *("encoder.res2_scale=8", "encoder.bottleneck=128", "encoder.padding=reflect"),
    *("encoder.aggregation_norm=true", "head.hidden_dim=2048", "head.num_hidden=2"),
    *("head.projection_dim=256", "teacher.batch_norm=own", "sdpn.num_prototypes=1024"),
    *("crops.num_global=1", "crops.num_local=4", "optimizer.kind=sgd", "optimizer.weight_decay=5.0e-5"),
    *("optimizer.clip_norm=3.0", "optimizer.clip=per-tensor", "optimizer.clip_prototypes=false"),
]


@script
def main() -> None:
    """Measure all of them in turns and print a table."""
    args = _arguments()
    device = device_of(args.device)
    settings = [
        *PUBLISHED,
        f"encoder.channels={args.channels}",
        f"encoder.aggregation_channels={3 * args.channels}",
        f"training.batch_size={args.batch}",
        f"crops.global_s={args.global_s}",
        f"crops.local_s={args.local_s}",
        *args.settings,
    ]
    config = load_config(RunConfig, None, settings)
    sides = _sides(config, settings, device, args.reference, args.also)
    batch = _batch(config, args.batch).to(device)
    if args.memory_of is not None:
        print(json.dumps(_own_memory(sides[args.memory_of], batch, device)))
        return
    memory_mb = {name: _memory_of(name) for name in sides}  # first: this process has nothing of a GPU yet
    steps = {name: make() for name, make in sides.items()}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(args.turns):
        for name, step in steps.items():
            step(batch)
            _wait(device)
            started, worked = time.perf_counter(), time.process_time()
            for _ in range(args.steps):
                step(batch)
            _wait(device)
            taken = (time.perf_counter() - started, time.process_time() - worked)
            seconds[name].append((taken[0] / args.steps, taken[1] / args.steps))
    rows = []
    first_s = 0.0
    for name, step in steps.items():
        with Launches() as launches:
            step(batch)
        wall_s, cpu_s = (statistics.median(times) for times in zip(*seconds[name], strict=True))
        first_s = first_s or wall_s
        rows.append(
            [
                *(name, f"{1000 * wall_s:.0f}", f"{1000 * cpu_s:.0f}", f"{first_s / wall_s:.2f}"),
                *(f"{memory_mb[name]:.0f}", str(launches.total), str(launches.reads)),
            ]
        )
    start = build(config)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    print(measured_on(__file__, card))
    print(
        f"ECAPA-{args.channels}, {sum(p.numel() for p in start.student.parameters()):,} parameters with its "
        f"head, batch of {args.batch}: a crop of {args.global_s:g} s and {config.crops.num_local} of "
        f"{args.local_s:g} s; {args.turns} turns of {args.steps} steps"
    )
    titles = ["side", "ms", "processor ms", "times as fast", "memory, MB", "operators", "values read"]
    print(format_markdown(titles, rows))
    print(_arithmetic(start.to(device), batch, device))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, metavar="CHECKOUT", help="a checkout of 3D-Speaker")
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
        "--also",
        action="append",
        default=[],
        metavar="SETTING",
        help="measure ours with this setting, too, such as training.compile=kernels; repeatable",
    )
    parser.add_argument(
        "--memory-of", metavar="SIDE", help=argparse.SUPPRESS
    )  # of the process that measures it
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="SETTING",
        help="of sdpn train, of all sides, such as crops.num_local=2",
    )
    return parser.parse_args()


def _sides(
    config: RunConfig, settings: list[str], device: torch.device, checkout: Path | None, also: list[str]
) -> dict[str, Callable[[], Step]]:
    """What is compared, each made when it is needed; the first is what ratios are of."""
    kinds = {
        "as published": ("fp32", True),
        "no anomaly detection": ("fp32", False),
        "bf16": ("bf16", False),
    }
    sides: dict[str, Callable[[], Step]] = {}
    if checkout is not None:
        from reference_step import ReferenceStep, reference_modules

        reference_modules(checkout)  # what is none is refused here, not in a process of a side
        for name, (precision, anomaly) in kinds.items():
            sides[f"reference, {name}"] = partial(
                ReferenceStep, checkout, config, device, precision=precision, anomaly=anomaly
            )
    for name, (precision, anomaly) in kinds.items():
        sides[f"plain, {name}"] = partial(Plain, config, device, precision=precision, anomaly=anomaly)
    for setting in ("", *also):
        for precision in ("fp32", "bf16"):
            own = [*settings, f"training.precision={precision}", *filter(None, [setting])]
            sides[", ".join(filter(None, ["sdpn", precision, setting]))] = partial(_ours, own, device)
    return sides


def _start(config: RunConfig) -> Objective:
    """The same weights for all."""
    torch.manual_seed(0)
    return build(config)


def _batch(config: RunConfig, size: int) -> CropBatch:
    generator = torch.Generator().manual_seed(0)
    crops = config.crops
    return CropBatch(
        0.1 * torch.randn(crops.num_global, size, crops.global_samples, generator=generator),
        0.1 * torch.randn(crops.num_local, size, crops.local_samples, generator=generator),
        torch.arange(size),
    )


def _ours(settings: list[str], device: torch.device) -> Step:
    config = load_config(RunConfig, None, settings)
    update = Update(config, _start(config).to(device).train(), Processes(0, 1, device))

    def step(batch: CropBatch) -> None:
        update(batch, lr=0.01, momentum=0.99)

    return step


class Plain:
    """A training loop as one writes it first."""

    def __init__(
        self, config: RunConfig, device: torch.device, *, precision: str, anomaly: bool = False
    ) -> None:
        self._network: Any = _start(config).to(device).train()
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


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory_of(side: str) -> float:
    """Most memory of a process that runs one side, in MB."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _own_memory(make: Callable[[], Step], batch: CropBatch, device: torch.device) -> float:
    """Most memory of this process in two steps, beyond what it holds now, in MB."""
    before_mb = 0.0 if device.type == "cuda" else _status_mb("VmRSS")
    step = make()
    for _ in range(2):  # the first has no momentum yet
        step(batch)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return _status_mb("VmHWM") - before_mb


def _status_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _arithmetic(network: Objective, batch: CropBatch, device: torch.device) -> str:
    """Floating-point operations of a step, and the time that they take at the device's rate."""
    with FlopCounterMode(display=False) as counter:
        network.train()(batch).total.backward()
    flop = counter.get_total_flops()
    rates = {"fp32": _flop_per_s(device, torch.float32), "bf16": _flop_per_s(device, torch.bfloat16)}
    return (
        f"arithmetic of a step: {flop / 1e9:.0f} GFLOP. This device multiplies matrices at "
        + " and ".join(
            f"{rate / 1e9:.0f} GFLOP/s in {name}: {1000 * flop / rate:.0f} ms at least"
            for name, rate in rates.items()
        )
    )


def _flop_per_s(device: torch.device, dtype: torch.dtype) -> float:
    """Of a product of matrices as large as a convolution's, the best of several."""
    rows, columns = (4096, 1024) if device.type == "cpu" else (32768, 4096)
    one = torch.randn(rows, columns, device=device).to(dtype)
    other = torch.randn(columns, columns, device=device).to(dtype)
    best = 0.0
    for _ in range(5):
        _wait(device)
        started = time.perf_counter()
        one @ other
        _wait(device)
        best = max(best, 2 * rows * columns**2 / (time.perf_counter() - started))
    return best


if __name__ == "__main__":
    sys.exit(main())
