#!/usr/bin/env python3
"""What a million utterances cost `sdpn train` before the first batch, in sampling, and to resume.

Generates a corpus of the shape of VoxCeleb2's (names only; no audio is decoded) as a Kaldi data directory, as
packed speech in tar shards, as segments of long recordings, and as cuts of lhotse. Of each, in a process of
its own, it reads the list as a run does, makes the training data set, draws all batches of an epoch, resumes
in the middle of one, and forks a loader process which looks at every utterance in random order, as epochs do.
(A process that is forked shares memory until one of the two writes, and to look at a Python object is to
write: it counts references.) The last rows index tar shards that another tool wrote.

    tools/benchmarks/million.py --utterances 1000000

Exit code 1 if a process needs more than 1 GB, or more than 30 s to start.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

#: Utterances of a video, of a speaker, of a shard, and of a long recording.
_OF_VIDEO, _OF_SPEAKER, _OF_SHARD, _OF_RECORDING = 8, 170, 1000, 500
_BATCH = 128
_MOST_MB, _MOST_S = 1000, 30


def main() -> int:
    """Measure every kind of corpus and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=1_000_000, metavar="N", help="how many")
    parser.add_argument("--kind", choices=sorted(_KINDS), action="append", help="only these; repeatable")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of the process that measures
    args = parser.parse_args()
    if args.folder is not None:
        print(json.dumps(_measure(args.folder, args.kind[0])))
        return 0
    from sdpn.cli.script import measured_on
    from sdpn.cli.table import format_markdown

    rows, over = [], []
    for kind in args.kind or _KINDS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            _KINDS[kind](folder, args.utterances)
            command = [sys.executable, __file__, "--kind", kind, "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append([kind, *(f"{found[name]:.{digits}f}" for name, (_, digits) in _COLUMNS.items())])
        if found["start_s"] > _MOST_S or max(found["peak_mb"], found["loader_mb"]) > _MOST_MB:
            over.append(kind)
    print(measured_on(__file__, None))
    print(f"{args.utterances} utterances; seconds are of the processor, megabytes are resident")
    print(format_markdown(["corpus", *(title for title, _ in _COLUMNS.values())], rows))
    if over:
        print(f"more than {_MOST_MB} MB or {_MOST_S} s: {', '.join(over)}")
    return 1 if over else 0


#: Key of a figure -> title of its column, digits.
_COLUMNS = {
    "start_s": ("start, s", 1),
    "wall_s": ("start, wall s", 1),
    "epoch_s": ("batches of an epoch, s", 1),
    "in_order_s": ("the same, in order, s", 1),
    "resume_s": ("first batch of a resumed run, s", 2),
    "imports_mb": ("imports, MB", 0),
    "held_mb": ("after the start, MB", 0),
    "peak_mb": ("peak, MB", 0),
    "loader_mb": ("loader alone, MB", 0),
}


def _measure(folder: Path, kind: str) -> dict[str, float]:
    if kind == "index":
        return _measure_index(folder)
    from dataclasses import replace

    from sdpn.augmentation.augment import AugmentationConfig, Augmenter
    from sdpn.data.crops import CropConfig
    from sdpn.data.dataset import CropDataset
    from sdpn.data.sampler import InOrder, StepSampler
    from sdpn.training.config import RunConfig
    from sdpn.training.data import read_training_data
    from sdpn.training.identity import run_identity

    imports_mb = _memory_mb("VmRSS")
    started, worked = time.perf_counter(), time.process_time()
    data = folder / "cuts.jsonl" if kind == "cuts" else folder
    # only a pack's files are there
    utterances, mixture = read_training_data([data], check_files=kind == "pack")
    run_identity({"training": {}, "evaluation": {"choose": False}}, utterances, mixture, None, None)
    dataset = CropDataset(
        utterances,
        CropConfig(),
        Augmenter(AugmentationConfig()),
        seed=0,
        cache_mb=RunConfig().training.cache_mb,
        mixture=mixture,
    )
    figures = {
        "start_s": time.process_time() - worked,
        "wall_s": time.perf_counter() - started,
        "imports_mb": imports_mb,
        "held_mb": _memory_mb("VmRSS"),
    }
    steps = len(dataset) // _BATCH

    def batches(start: int, end: int) -> float:
        worked = time.process_time()
        sampler = StepSampler(mixture, _BATCH, seed=0, start_step=start, end_step=end)
        if sum(map(len, sampler)) != (end - start) * _BATCH:
            raise RuntimeError("the sampler lost utterances")
        return time.process_time() - worked

    figures["epoch_s"] = batches(0, steps)
    figures["resume_s"] = batches(3 * steps + steps // 2, 3 * steps + steps // 2 + 1)
    worked = time.process_time()
    mixture = replace(mixture, in_order=InOrder(20_000, utterances.shard_starts()))
    figures["in_order_s"] = time.process_time() - worked + batches(0, steps)
    figures["loader_mb"] = _loader_mb(dataset)
    return {**figures, "peak_mb": _memory_mb("VmHWM")}


def _measure_index(folder: Path) -> dict[str, float]:
    from sdpn.data.shard_index import index_shards

    imports_mb = _memory_mb("VmRSS")
    started, worked = time.perf_counter(), time.process_time()
    index_shards([folder], folder / "data")
    return {
        **dict.fromkeys(_COLUMNS, 0.0),
        "start_s": time.process_time() - worked,
        "wall_s": time.perf_counter() - started,
        "imports_mb": imports_mb,
        "held_mb": _memory_mb("VmRSS"),
        "peak_mb": _memory_mb("VmHWM"),
    }


def _names(num_utterances: int) -> list[tuple[str, str, str]]:
    """Id, speaker, and file of each utterance."""
    rows = []
    for number in range(num_utterances):
        speaker = f"id{number // _OF_SPEAKER:05d}"
        video, clip = f"abcDEF{number // _OF_VIDEO:08d}", f"{number % _OF_VIDEO:05d}"
        rows.append((f"{speaker}-{video}-{clip}", speaker, f"{speaker}/{video}/{clip}.m4a"))
    return rows


def _write_directory(folder: Path, num_utterances: int) -> None:
    with open(folder / "wav.scp", "w") as scp, open(folder / "utt2spk", "w") as speakers:
        for key, speaker, file in _names(num_utterances):
            scp.write(f"{key} /corpora/voxceleb2/dev/aac/{file}\n")
            speakers.write(f"{key} {speaker}\n")


def _write_pack(folder: Path, num_utterances: int) -> None:
    shards = {}
    with open(folder / "wav.scp", "w") as scp, open(folder / "utt2spk", "w") as speakers:
        for number, (key, speaker, _) in enumerate(_names(num_utterances)):
            shard = f"shard-{number // _OF_SHARD:06d}.tar"
            scp.write(f"{key} {shard}:{1536 + number % _OF_SHARD * 60000}\n")
            speakers.write(f"{key} {speaker}\n")
            shards[shard] = 60_000 * _OF_SHARD
    for shard, size in shards.items():  # sparse files, which take no space
        with open(folder / shard, "wb") as file:
            file.truncate(size)
    manifest = {"format": 1, "signature": "", "num_utterances": num_utterances, "num_skipped": 0}
    (folder / "pack.json").write_text(json.dumps({**manifest, "shards": shards}))


def _write_segments(folder: Path, num_utterances: int) -> None:
    with open(folder / "segments", "w") as segments, open(folder / "wav.scp", "w") as scp:
        for number, (key, _, _) in enumerate(_names(num_utterances)):
            recording, place = divmod(number, _OF_RECORDING)
            if not place:
                scp.write(f"r{recording:06d} /corpora/broadcast/r{recording:06d}.opus\n")
            segments.write(f"{key} r{recording:06d} {place * 7.25:.2f} {place * 7.25 + 6.5:.2f}\n")


def _write_cuts(folder: Path, num_utterances: int) -> None:
    with open(folder / "cuts.jsonl", "w") as cuts:
        for key, _, file in _names(num_utterances):
            source = {"type": "file", "channels": [0], "source": f"/corpora/voxceleb2/dev/aac/{file}"}
            recording = {"id": key, "sources": [source], "sampling_rate": 16000, "num_samples": 128000}
            recording |= {"duration": 8.0, "channel_ids": [0]}
            cut = {"id": key, "start": 0.0, "duration": 8.0, "channel": 0, "supervisions": []}
            cuts.write(json.dumps({**cut, "recording": recording, "type": "MonoCut"}) + "\n")


def _write_shards(folder: Path, num_utterances: int) -> None:
    names = _names(num_utterances)
    for first in range(0, num_utterances, _OF_SHARD):
        with tarfile.open(folder / f"train-{first // _OF_SHARD:06d}.tar", "w") as tar:
            for key, _, _ in names[first : first + _OF_SHARD]:
                tar.addfile(tarfile.TarInfo(f"{key}.opus"))


_KINDS: dict[str, Callable[[Path, int], None]] = {
    "directory": _write_directory,
    "pack": _write_pack,
    "segments": _write_segments,
    "cuts": _write_cuts,
    "index": _write_shards,
}


def _memory_mb(field: str) -> float:
    """A figure of this process that Linux keeps, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _loader_mb(dataset: object) -> float:
    """Memory that a forked process has for itself alone after it has looked at every utterance."""
    import numpy as np

    from sdpn.data.dataset import CropDataset

    assert isinstance(dataset, CropDataset)
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
    sys.exit(main())
