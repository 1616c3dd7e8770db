"""Extraction: 'sdpn extract' beside a plain loop over utterances, in turns, on the same files.

python tools/benchmarks/extraction.py --corpus FOLDER [--model MODEL] [--minutes 60] [--rounds 3]

The corpus is a folder per speaker; utterances of 3 to 15 s are pieced together from each speaker's files and
written as FLAC. The plain loop is what one writes first: read a file, model.embed, next; fp32, torch's own
threads. Each run is a process of its own, which says how long it took after its imports: reading, features,
network, writing. The network's share is the time that threads spend in it, of all the time that they have.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from sdpn.cli import extract as command
from sdpn.cli.main import main as sdpn
from sdpn.cli.table import format_markdown
from sdpn.features.log_mel import FeatureConfig
from sdpn.interop.load import load_model
from sdpn.interop.read import read_any
from sdpn.io import audio
from sdpn.io.kaldi import Utterance, read_data_dir, vector_writer, write_data_dir
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.registry import SIZES, build_encoder

SHORTEST_S, LONGEST_S = 3.0, 15.0
SYSTEMS = {
    "plain loop, fp32": ["loop"],
    "extract, fp32": ["extract", "--precision", "fp32"],
    "extract, bf16": ["extract", "--precision", "bf16"],
    "extract, ONNX": ["extract-onnx"],
    "extract, ONNX int8": ["extract-int8"],
}


def main() -> None:
    """Make the corpus and the models, run all systems in turns, print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder per speaker")
    parser.add_argument("--model", type=Path, help="beside the untrained ecapa-512")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--graphs", action="store_true", help="also ONNX graphs, in full and of 8 bits")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        duration_s = make_corpus(folder / "data", args.corpus, 60 * args.minutes)
        torch.manual_seed(0)
        config = SIZES["ecapa-512"]
        save_model(
            folder / "ecapa-512", ModelFolder(build_encoder(config, 80).eval(), config, FeatureConfig())
        )
        models = {"ecapa-512, untrained": folder / "ecapa-512"}
        if args.model is not None:
            models[read_any(args.model).encoder_config.kind + f", {args.model.parent.name}"] = args.model
        for label, model in models.items():
            graphs = make_graphs(folder / f"graphs of {label}", model) if args.graphs else {}
            print(
                f"\n{label}: {duration_s / 60:.0f} minutes, {os.cpu_count()} cores, {args.rounds} rounds\n",
                flush=True,
            )
            report(measure(folder, model, graphs, args.rounds), duration_s)


def make_corpus(data: Path, corpus: Path, duration_s: float) -> float:
    """Write utterances of 3 to 15 s, uniformly, each of one speaker; returns their length in seconds."""
    data.mkdir()
    rng = np.random.default_rng(0)
    utterances: list[Utterance] = []
    total_s = 0.0
    speakers = sorted(path for path in corpus.iterdir() if path.is_dir())
    while total_s < duration_s:
        for speaker in speakers:
            samples = round(rng.uniform(SHORTEST_S, LONGEST_S) * audio.RATE_HZ)
            files = sorted(path for path in speaker.iterdir() if path.is_file())
            pieces: list[np.ndarray] = []
            while sum(map(len, pieces)) < samples:
                pieces.append(audio.read(files[rng.integers(len(files))]))
            utterances.append(Utterance(f"u{len(utterances):05}", data / f"{len(utterances):05}.flac"))
            soundfile.write(utterances[-1].path, np.concatenate(pieces)[:samples], audio.RATE_HZ)
            total_s += samples / audio.RATE_HZ
            if total_s >= duration_s:
                break
    write_data_dir(data, utterances)
    return total_s


def make_graphs(folder: Path, model: Path) -> dict[str, Path]:
    """ONNX graphs of a model, features outside as in torch."""
    from sdpn.interop.onnx_export import export_onnx, quantise_onnx

    graphs = {"extract-onnx": folder / "model.onnx", "extract-int8": folder / "model.int8.onnx"}
    export_onnx(graphs["extract-onnx"], read_any(model))
    quantise_onnx(graphs["extract-onnx"], graphs["extract-int8"])
    return graphs


def measure(
    folder: Path, model: Path, graphs: dict[str, Path], rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Run every system once in each round, in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name, (kind, *options) in SYSTEMS.items():
            if kind.startswith("extract-") and kind not in graphs:
                continue
            with tempfile.TemporaryDirectory(dir=folder) as out:
                arguments = [kind.partition("-")[0], graphs.get(kind, model), folder / "data", out, *options]
                done = subprocess.run(
                    [sys.executable, __file__, "--child", *map(str, arguments)],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    # as the command does by itself; on a busy machine, threads that spin while they wait for
                    # each other would make the loop three times as slow
                    env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
                )
            found.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {found[name][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    return found


def report(found: dict[str, list[dict[str, float]]], duration_s: float) -> None:
    """Print medians over the rounds, and the ratio to the plain loop of the same round."""
    loop = [run["seconds"] for run in found["plain loop, fp32"]]
    rows = []
    for name, runs in found.items():
        ratios = [plain / run["seconds"] for plain, run in zip(loop, runs, strict=True)]
        seconds = statistics.median(run["seconds"] for run in runs)
        rows.append(
            [
                name,
                f"{seconds:.1f} s",
                f"{duration_s / seconds:.0f}",
                f"{100 * statistics.median(run['network'] for run in runs):.0f} %",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                f"{max(run['memory_mb'] for run in runs):.0f} MB",
            ]
        )
    header = ["system", "time", "times real time", "in the network", "ratio to the loop", "memory"]
    print(format_markdown(header, rows), flush=True)


class Stopwatch:
    """Seconds that all threads together spend in a network."""

    def __init__(self, embedder: Embedder) -> None:
        self.seconds = 0.0
        self._since = threading.local()
        self._lock = threading.Lock()
        embedder.encoder.register_forward_pre_hook(self._begin)
        embedder.encoder.register_forward_hook(self._end)

    def _begin(self, *_: Any) -> None:
        self._since.value = time.perf_counter()

    def _end(self, *_: Any) -> None:
        with self._lock:
            self.seconds += time.perf_counter() - self._since.value


def child(kind: str, model: Path, data: Path, out: Path, options: Sequence[str]) -> None:
    """One run; prints seconds, the network's share and the memory as a line of JSON."""
    watches: list[Stopwatch] = []

    def load(args: argparse.Namespace, **settings: Any) -> Embedder:
        embedder = load_model(args.model, **settings)
        watches.append(Stopwatch(embedder))
        return embedder

    started = time.perf_counter()
    if kind == "loop":
        threads = 1  # one thread asks; those inside torch are all in the network, or all idle
        embedder = load(argparse.Namespace(model=model))
        with vector_writer(out) as write:
            for utterance in read_data_dir(data):
                write(utterance.id, embedder.embed(utterance.read(), audio.RATE_HZ))
    else:
        threads = torch.get_num_threads()
        command.load_for_runtime = load
        arguments = ["extract", "--model", str(model), "--data", str(data), "--out", str(out), "--quiet"]
        with contextlib.redirect_stdout(io.StringIO()):
            assert sdpn([*arguments, *options]) == 0
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "seconds": seconds,
                "network": watches[0].seconds / seconds / threads,
                "memory_mb": most_memory_mb(),
            }
        )
    )


def most_memory_mb() -> float:
    """The most that this process has held; getrusage would count the parent's, which it was forked from."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        own, own_model, own_data, own_out, *own_options = sys.argv[2:]
        child(own, Path(own_model), Path(own_data), Path(own_out), own_options)
    else:
        main()
