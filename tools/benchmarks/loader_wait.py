#!/usr/bin/env python3
"""How long a training step waits for its batch, by where crops are augmented and how many processes load.

    tools/benchmarks/loader_wait.py --data packs/vox2 augmentation.noise=packs/musan       a GPU, minutes
    tools/benchmarks/loader_wait.py --data packs/vox2 --workers 1,3,auto --channels 512 --batch 8 --steps 10

The network is ECAPA with so many channels. Each row is the same step, on a batch that is at hand and on
batches from the loader, after as many as there are loader processes; what the second takes longer is the
wait. (On a GPU the host waits longer for a batch than that, while the device is still at work.) Augmentation
on the device is part of both. The last column is what the loader does when nobody else works:
below the first, it cannot hold the network up. No decoded audio is kept, as with a corpus that is far larger
than memory. Other settings of sdpn train may follow: augmentation.preset=published, crops.num_local=2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sdpn.cli.script import measured_on, script
from sdpn.cli.table import format_markdown
from sdpn.config import load_config
from sdpn.data.dataset import load_batches
from sdpn.errors import InputError
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.data import read_training_data, training_set
from sdpn.training.distributed import Processes, device_of, loader_workers
from sdpn.training.step import Update


@script
def main() -> None:
    """Measure every combination and print a table."""
    args = _arguments()
    device = device_of(args.device)
    rows = []
    for places in args.augment.split(","):
        for workers in args.workers.split(","):
            settings = [
                f"encoder.channels={args.channels}",
                f"encoder.aggregation_channels={3 * args.channels}",
                *("crops.global_s=4.0", "crops.local_s=2.0", "crops.num_local=4"),
                *(f"training.batch_size={args.batch}", f"training.precision={args.precision}"),
                *("training.cache_mb=0", f"training.augment={places}", f"training.workers={workers}"),
                *args.settings,
            ]
            rows.append(_row(load_config(RunConfig, None, settings), args, device))
    print(measured_on(__file__, torch.cuda.get_device_name(device) if device.type == "cuda" else None))
    print(
        f"ECAPA-{args.channels}, {args.precision}, batch of {args.batch}; {args.steps} steps in each column"
    )
    titles = ["augmented in", "loader processes", "ms, batch at hand", "ms, from the loader", "waiting, %"]
    print(format_markdown([*titles, "ms, loader alone"], rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, action="append", required=True, help="packed speech, or a data directory"
    )
    parser.add_argument("--channels", type=int, default=1024, help="of ECAPA; default %(default)s")
    parser.add_argument("--batch", type=int, default=96, help="utterances; default %(default)s")
    parser.add_argument("--steps", type=int, default=50, help="that are timed; default %(default)s")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--augment", default="loader,device", help="where; default %(default)s")
    parser.add_argument("--workers", default="auto", help="loader processes; default %(default)s")
    parser.add_argument("settings", nargs="*", metavar="SETTING", help="of sdpn train")
    return parser.parse_args()


def _row(config: RunConfig, args: argparse.Namespace, device: torch.device) -> list[str]:
    if args.steps < 1:
        raise InputError("expected at least one of --steps")
    utterances, mixture = read_training_data(args.data)
    dataset = training_set(config, utterances, mixture, None, None, device)
    workers = loader_workers(config.training.workers)
    first = max(1, workers)  # are not timed: processes start, and kernels are chosen

    def batches() -> Iterator[Any]:
        return load_batches(
            dataset,
            batch_size=config.training.batch_size,
            seed=0,
            start_step=0,
            end_step=first + args.steps,
            workers=workers,
            pin=device.type == "cuda",
        )

    torch.manual_seed(0)
    update = Update(config, build(config).to(device).train(), Processes(0, 1, device))
    loaded = list(zip(range(first), batches(), strict=False))

    def milliseconds(given: Iterator[Any], *, train: bool) -> float:
        started = 0.0
        for number, batch in enumerate(given, start=1):
            if train:
                update(batch.to(device), lr=0.01, momentum=0.99)
            if number == first:
                _wait(device)
                started = time.perf_counter()
        _wait(device)
        return 1000 * (time.perf_counter() - started) / args.steps

    at_hand = milliseconds((loaded[-1][1] for _ in range(first + args.steps)), train=True)
    from_loader = milliseconds(batches(), train=True)
    alone = milliseconds(batches(), train=False)
    place = config.training.augment
    wait = max(0.0, 100 * (1 - at_hand / from_loader))
    return [place, str(workers), f"{at_hand:.0f}", f"{from_loader:.0f}", f"{wait:.1f}", f"{alone:.0f}"]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
