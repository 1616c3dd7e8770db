#!/usr/bin/env python3
"""What a list of a million utterances costs `sdpn train` before the first batch: time, and memory.

Generates a data directory of the shape of VoxCeleb2's (names only; no audio is read), reads it as a run does,
makes the training data set, and forks a loader process which looks at every utterance in random order, as
epochs do. A process that is forked shares memory until one of the two writes, and to look at a Python object
is to write: it counts references.

    tools/benchmarks/many_utterances.py --utterances 1000000
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from sdpn.augmentation.augment import AugmentationConfig, Augmenter
from sdpn.data.crops import CropConfig
from sdpn.data.dataset import CropDataset
from sdpn.training.config import RunConfig
from sdpn.training.pretrain import _identity, read_training_data

#: Utterances of a video, and of a speaker.
_OF_VIDEO, _OF_SPEAKER = 8, 170


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="What a list of a million utterances costs.")
    parser.add_argument("--utterances", type=int, default=1_000_000, metavar="N", help="how many")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write(folder, args.utterances)
        before_mb = _memory_mb("VmRSS")
        started, worked = time.perf_counter(), time.process_time()
        utterances, mixture = read_training_data([folder], check_files=False)
        _identity({"training": {}}, utterances, mixture, None, None)
        dataset = CropDataset(
            utterances,
            CropConfig(),
            Augmenter(AugmentationConfig()),
            seed=0,
            cache_mb=RunConfig().training.cache_mb,
            mixture=mixture,
        )
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - worked
    print(f"{len(dataset)} utterances read in {cpu_s:.1f} CPU seconds (wall {seconds:.1f})")
    print(f"resident: {_memory_mb('VmRSS'):.0f} MB, of that {before_mb:.0f} MB before (imports)")
    print(f"most resident: {_memory_mb('VmHWM'):.0f} MB")
    print(f"of a loader process alone, after an epoch: {_loader_mb(dataset):.0f} MB")


def _write(folder: Path, num_utterances: int) -> None:
    with open(folder / "wav.scp", "w") as scp, open(folder / "utt2spk", "w") as speakers:
        for number in range(num_utterances):
            speaker = f"id{number // _OF_SPEAKER:05d}"
            video, clip = f"abcDEF{number // _OF_VIDEO:08d}", f"{number % _OF_VIDEO:05d}"
            key = f"{speaker}-{video}-{clip}"
            scp.write(f"{key} /corpora/voxceleb2/dev/aac/{speaker}/{video}/{clip}.m4a\n")
            speakers.write(f"{key} {speaker}\n")


def _memory_mb(field: str) -> float:
    """A figure of this process that Linux keeps, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _loader_mb(dataset: CropDataset) -> float:
    """Memory that a forked process has for itself alone after it has looked at every utterance."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        characters = 0
        for index in np.random.default_rng(0).permutation(len(dataset)):
            characters += len(str(dataset._utterances[int(index)].path))
        rollup = Path("/proc/self/smaps_rollup").read_text()
        private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
        os.write(writing, f"{private / 1024}".encode())
        os._exit(0 if characters else 1)
    os.waitpid(child, 0)
    return float(os.read(reading, 100).decode())


if __name__ == "__main__":
    main()
