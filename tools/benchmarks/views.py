"""Augmented views per second of one loader process, beside a plain scipy implementation, in turns.

python tools/benchmarks/views.py --data DATA --noise NOISE --rir RIR [--turns 6] [--files] [SETTING ...]

Both make, of each utterance, the crops of the mini recipe (one clean crop of 3 s, four augmented of 1.5 s)
with the default probabilities, by one thread. The plain implementation is what one writes first: double
precision, a convolution for the room and one for the equaliser, one utterance after the other; ours is asked
for eight at a time, as torch's loader asks for a batch. Each is measured in a process of its own, as a loader
is, with all samples in memory, and with --files with none as well. The figures are processor time, of the
fastest pass. Settings of the
augmentation (codec_probability=0.1) add rows of ours with them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve, firwin2

from sdpn.augmentation.augment import AugmentationConfig, Augmenter
from sdpn.cli.table import format_markdown
from sdpn.config import load_config
from sdpn.data.crops import CropConfig
from sdpn.data.dataset import KEPT_MB, CropDataset
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.memory import keep_freed_memory

CROPS = CropConfig()
#: A loader works on without a break; one that has just been woken is slower.
_PASSES = 5
_BATCH = 8
_load: Callable[[list[tuple[int, int]]], object]
_count: int
#: name -> (ours, samples in memory)
LOADERS = {
    "plain scipy, from files": (False, False),
    "plain scipy, in memory": (False, True),
    "sdpn, from files": (True, False),
    "sdpn, in memory": (True, True),
}
_CHANGED = {"sdpn with settings, from files": (True, False), "sdpn with settings, in memory": (True, True)}


def main() -> None:
    """Measure all loaders in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Kaldi data directory of speech")
    parser.add_argument("--noise", type=Path, required=True, help="Kaldi data directory of noise")
    parser.add_argument("--rir", type=Path, required=True, help="Kaldi data directory of room responses")
    parser.add_argument("--utterances", type=int, default=40, help="taken from the data, evenly spread")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--files", action="store_true", help="also without memory: what decoding takes")
    parser.add_argument("settings", nargs="*", metavar="SETTING", help="such as codec_probability=0.1")
    args = parser.parse_args()
    every = read_data_dir(args.data)
    chosen = [every[index] for index in np.linspace(0, len(every) - 1, args.utterances).astype(int)]
    config = AugmentationConfig(noise=args.noise, rir=args.rir)
    changed = load_config(AugmentationConfig, None, args.settings, base=config)
    kinds = {**LOADERS, **(_CHANGED if args.settings else {})}
    loaders = {name: kind for name, kind in kinds.items() if args.files or kind[1]}
    best = dict.fromkeys(loaders, float("inf"))
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                ProcessPoolExecutor(
                    1, initializer=_start, initargs=(chosen, changed if name in _CHANGED else config, *kind)
                )
            )
            for name, kind in loaders.items()
        }
        for number in range(args.turns + 2):
            for name, process in processes.items():
                took_s = process.submit(_turn, number).result()
                if number > 1:  # the first turns fill the memory
                    best[name] = min(best[name], took_s)
    views = len(chosen) * CROPS.num_local
    rows = [
        [name, f"{views / took_s:.0f}", f"{best['plain scipy' + name[name.index(',') :]] / took_s:.1f}"]
        for name, took_s in best.items()
    ]
    print(format_markdown(["loader", "views per second", "times the plain one"], rows))


def _start(utterances: list[Utterance], config: AugmentationConfig, ours: bool, in_memory: bool) -> None:
    """Make the loader of this process."""
    global _load, _count
    _count = len(utterances)
    if ours:
        keep_freed_memory(KEPT_MB)
        cache_mb = 4096 if in_memory else 0
        augmenter = Augmenter(config, cache_mb=cache_mb)
        dataset = CropDataset(utterances, CROPS, augmenter, seed=0, cache_mb=cache_mb)
        _load = dataset.__getitems__
    else:
        _load = Plain(utterances, config, in_memory=in_memory)


def _turn(number: int) -> float:
    """Processor seconds for the crops of all utterances, the fastest of some passes in a row."""
    best = float("inf")
    for epoch in range(number * _PASSES, (number + 1) * _PASSES):
        start = time.process_time()
        for first in range(0, _count, _BATCH):
            _load([(epoch, index) for index in range(first, min(first + _BATCH, _count))])
        best = min(best, time.process_time() - start)
    return best


class Plain:
    """The same crops and the same augmentation, as one writes them first."""

    def __init__(self, utterances: list[Utterance], config: AugmentationConfig, *, in_memory: bool) -> None:
        assert config.noise is not None and config.rir is not None
        self.config = config
        self.in_memory = in_memory
        self.utterances = utterances
        self.noises = read_data_dir(config.noise)
        self.rooms = [entry.read().astype(np.float64) for entry in read_data_dir(config.rir)]
        self.memory: dict[str, np.ndarray] = {}

    def __call__(self, items: list[tuple[int, int]]) -> None:
        """Make the crops of some utterances, and forget them."""
        for item in items:
            self.views(item)

    def views(self, item: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Clean and augmented crops."""
        index = item[1]
        rng = np.random.default_rng(item)
        clean = self.crop(self.read(self.utterances[index]), CROPS.global_samples, rng)
        views = [
            self.augment(self.crop(self.read(self.utterances[index]), CROPS.local_samples, rng), rng)
            for _ in range(CROPS.num_local)
        ]
        return clean, np.stack(views)

    def read(self, utterance: Utterance) -> np.ndarray:
        """The whole file."""
        if utterance.id in self.memory:
            return self.memory[utterance.id]
        wave = utterance.read().astype(np.float64)
        if self.in_memory:
            self.memory[utterance.id] = wave
        return wave

    @staticmethod
    def crop(wave: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """A random piece, repeated where it is short."""
        if len(wave) < num_samples:
            wave = np.resize(wave, num_samples)
        first = rng.integers(0, len(wave) - num_samples + 1)
        return wave[first : first + num_samples]

    def augment(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Room, equaliser, noise, babble, gain."""
        config, num_samples = self.config, len(wave)
        if rng.random() < config.room_probability:
            if rng.random() < config.simulated_room_share:
                length = int(16000 * min(0.5, rt60_s := rng.uniform(*config.room_decay_s)))
                room = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / 16000 / rt60_s)
            else:
                room = self.rooms[rng.integers(len(self.rooms))][:8000]
            wave = level(fftconvolve(wave, room)[:num_samples], wave)
        if rng.random() < config.tilt_probability:
            gain_db = np.clip(np.cumsum(rng.standard_normal(7)) * 3, -9, 9)
            points_hz = [0, 250, 500, 1000, 2000, 4000, 8000]
            taps = firwin2(513, points_hz, 10 ** (gain_db / 20), fs=16000)
            wave = level(fftconvolve(wave, taps, mode="same"), wave)
        if rng.random() < config.noise_probability:
            noise = self.crop(self.read(self.noises[rng.integers(len(self.noises))]), num_samples, rng)
            wave = add(wave, noise, rng.uniform(*config.noise_snr_db))
        if rng.random() < config.babble_probability:
            talkers = [
                self.crop(self.read(self.utterances[rng.integers(len(self.utterances))]), num_samples, rng)
                for _ in range(rng.integers(1, config.babble_talkers + 1))
            ]
            babble = np.sum([talker / (np.sqrt(np.mean(talker**2)) + 1e-5) for talker in talkers], axis=0)
            wave = add(wave, babble, rng.uniform(*config.babble_snr_db))
        return np.clip(wave * 10 ** (rng.uniform(*config.gain_db) / 20), -1, 1).astype(np.float32)


def level(wave: np.ndarray, like: np.ndarray) -> np.ndarray:
    """``wave`` with the power of ``like``."""
    scaled: np.ndarray = wave * np.sqrt(np.mean(like**2) / (np.mean(wave**2) + 1e-12))
    return scaled


def add(wave: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Mix at a ratio."""
    power = np.mean(noise**2) + 1e-12
    mixed: np.ndarray = wave + noise * np.sqrt(np.mean(wave**2) / power * 10 ** (-snr_db / 10))
    return mixed


if __name__ == "__main__":
    main()
