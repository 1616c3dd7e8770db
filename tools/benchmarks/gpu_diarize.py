#!/usr/bin/env python3
"""What an hour of audio costs in diarization: alone, and as one of many recordings that are read at once.

    tools/benchmarks/gpu_diarize.py meeting.flac             the default model, on a GPU if there is one
    tools/benchmarks/gpu_diarize.py meeting.flac --hours 0.05 --recordings 2 --device cpu

A file is repeated up to --hours. One row diarizes one such recording, the other --recordings of them at
once, as ``sdpn diarize --together`` does; seconds are of wall time, for an hour of audio, with reading,
speech detection, embedding and clustering, after a minute that is not counted. Before it, one minute is
diarized under watch: the table says how many operators of torch a batch of windows is (each is at least one
launch on a GPU), and how often samples go to the device and embeddings come back. These are counted on a
CPU, too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from sdpn.cli.script import measured_on, script
from sdpn.cli.table import format_markdown
from sdpn.diarization.embedding import EmbedsWindows
from sdpn.diarization.pipeline import Diarizer
from sdpn.diarization.recordings import RecordingOptions, diarize_recordings
from sdpn.errors import InputError
from sdpn.interop.load import load_model
from sdpn.io.audio import RATE_HZ, read
from sdpn.threads import usable_threads

#: Seconds that are watched, and that are diarized before anything is timed.
_WATCHED_S = 60.0


@script
def main() -> None:
    """Measure and print two tables."""
    args = _arguments()
    if args.recordings < 2 or not 0 < args.hours < float("inf"):
        raise InputError("expected two or more --recordings of some --hours")
    if args.device is None:
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(args.model, device=args.device, precision=args.precision)
    wave_S = read(args.audio)
    watched = _Watched(model)
    Diarizer(watched)((np.resize(wave_S, round(_WATCHED_S * RATE_HZ)), RATE_HZ))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        long_S = np.resize(wave_S, round(args.hours * 3600 * RATE_HZ))
        for number in range(args.recordings):
            # rolled, so that they are not in step
            soundfile.write(folder / f"r{number}.flac", np.roll(long_S, number * RATE_HZ * 7), RATE_HZ)
        for count in (1, args.recordings):
            files = {f"r{number}": folder / f"r{number}.flac" for number in range(count)}
            together = max(2, min(args.threads or usable_threads(), count))
            started, worked = time.perf_counter(), time.process_time()
            done = diarize_recordings(
                Diarizer(model),
                files,
                folder / f"out{count}",
                RecordingOptions(together=together),
                made_with={},
            )
            done.raise_failures()
            hours = done.total["duration_s"] / 3600
            wall_s, cpu_s = time.perf_counter() - started, time.process_time() - worked
            rows.append(
                [
                    *(str(count), str(min(together, count)), f"{hours:.2f}"),
                    *(f"{wall_s / hours:.1f}", f"{cpu_s / hours:.1f}"),
                ]
            )
    card = torch.cuda.get_device_name(model.device) if model.device_type == "cuda" else None
    print(measured_on(__file__, card))
    titles = ["recordings", "at once", "hours of audio", "seconds for an hour", "CPU seconds for an hour"]
    print(format_markdown(titles, rows))
    print(f"\n{_WATCHED_S:g} s of one recording:")
    print(watched.table())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("audio", type=Path, metavar="AUDIO", help="speech of several people")
    parser.add_argument("--model", type=Path, metavar="MODEL", help="default: the default model")
    parser.add_argument("--device", metavar="D", help="default: cuda if there is one, else cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="default: %(default)s")
    parser.add_argument("--hours", type=float, default=1.0, metavar="H", help="of a recording; default 1")
    parser.add_argument("--recordings", type=int, default=16, metavar="N", help="of many; default 16")
    parser.add_argument("--threads", type=int, metavar="N", help="that read; default: all that may be used")
    return parser.parse_args()


class _Watched:
    """A model that counts what its embedding launches and moves."""

    def __init__(self, model: EmbedsWindows) -> None:
        self._model = model
        self.calibration = model.calibration
        self._operators, self._moves = _Operators(), _Moves()
        self._batches = self._windows = 0

    def embed_windows(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> np.ndarray:
        """As the model."""
        self._batches += 1
        self._windows += len(windows_N2)
        with self._operators, self._moves:
            return self._model.embed_windows(wave_S, windows_N2)

    def table(self) -> str:
        """What was counted."""
        operators, moves = self._operators.count, self._moves.counts
        rows = [
            ["windows", str(self._windows)],
            ["batches", str(self._batches)],
            ["operators", str(operators)],
            ["operators of a batch", f"{operators / max(1, self._batches):.0f}"],
            ["to the device", str(moves["to"])],
            ["back", str(moves["cpu"])],
        ]
        return str(format_markdown(["of the embedding", "number"], rows))


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count it."""
        self.count += 1
        return func(*args, **(kwargs or {}))


class _Moves(TorchFunctionMode):
    """Counts ``Tensor.to(device)`` and ``Tensor.cpu()``, whether anything has to move or not."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch and count it."""
        name = (resolve_name(func) or "").rpartition(".")[2]
        if name == "cpu" or (name == "to" and isinstance(args[1] if len(args) > 1 else None, torch.device)):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


if __name__ == "__main__":
    sys.exit(main())
