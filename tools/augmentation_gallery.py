#!/usr/bin/env python3
"""Twenty augmented views of each preset: plotted, written as audio, and measured.

    tools/augmentation_gallery.py --data DATA --noise NOISE [--music MUSIC] --rir RIR --out FOLDER

Writes FOLDER/augmentation_<preset>.png (log-mel spectrograms, erased parts included), FOLDER/<preset>/NN.flac
and a table on standard output. Measured on the samples (in brackets: the values drawn):

- level: of the view relative to the original crop;
- SNR: of each noise;
- T60: of the room, from the decay of its Schroeder integral between -5 and -25 dB after the direct sound;
- band: between the -6 dB frequencies of the band limit;
- speed: the shift on a logarithmic frequency axis that maximises the similarity of both spectra.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import numpy as np
import soundfile
import torch

from sdpn.augmentation.augment import PRESETS, AugmentationConfig, Augmenter, Drawn
from sdpn.augmentation.bands import BANDS
from sdpn.augmentation.equaliser import power
from sdpn.augmentation.erasing import erase
from sdpn.augmentation.speed import change_speed, samples_needed
from sdpn.cli.script import script
from sdpn.cli.table import format_markdown
from sdpn.data.crops import crop
from sdpn.features.log_mel import FeatureConfig
from sdpn.features.registry import build_features
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance, read_data_dir

_VIEWS = 20
_CROP_S = 3.0

#: Everything at once, beside the presets.
_ALL = AugmentationConfig(
    band_probability=0.5, speed_probability=0.7, speed_speaker="same", erase_probability=0.7
)


class View(NamedTuple):
    """A view, and what was done to get it.

    Attributes:
        original: the samples that were taken.
        spoken: the crop, at the speed that was drawn.
        wave: the view.
        drawn: what happened to the crop.
        speed: what was drawn.
        erasure: what was drawn, (4,).
    """

    original: np.ndarray
    spoken: np.ndarray
    wave: np.ndarray
    drawn: Drawn
    speed: Fraction
    erasure: np.ndarray


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Kaldi data directory of speech")
    parser.add_argument("--noise", type=Path, required=True, help="Kaldi data directory of noise")
    parser.add_argument("--music", type=Path, help="Kaldi data directory of music")
    parser.add_argument("--rir", type=Path, required=True, help="Kaldi data directory of room responses")
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures and sound")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    speech = read_data_dir(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, config in {**PRESETS, "all": _ALL}.items():
        if name == "none":
            continue
        augmenter = Augmenter(replace(config, noise=args.noise, music=args.music, rir=args.rir))
        views = [make_view(augmenter, speech, (args.seed, number)) for number in range(_VIEWS)]
        (args.out / name).mkdir(exist_ok=True)
        for number, view in enumerate(views):
            soundfile.write(args.out / name / f"{number:02}.flac", view.wave, RATE_HZ)
        draw(views, args.out / f"augmentation_{name}.png")
        rows = [[f"{number:02}", *measure(view)] for number, view in enumerate(views)]
        head = ["view", "drawn", "level dB", "SNR dB", "T60 s", "band Hz", "speed"]
        print(f"\n{name}\n\n{format_markdown(head, rows)}", flush=True)


def make_view(augmenter: Augmenter, speech: Sequence[Utterance], seed: tuple[int, int]) -> View:
    """Draw and apply, as the loader does."""
    rng = np.random.default_rng(seed)

    def draw_speech(num_samples: int, rng: np.random.Generator) -> np.ndarray:
        while (piece := crop(speech[int(rng.integers(len(speech)))].read(), num_samples, rng)) is None:
            pass
        return piece

    num_samples = round(_CROP_S * RATE_HZ)
    speed = augmenter.draw_speed(rng)
    original = draw_speech(num_samples if speed == 1 else samples_needed(num_samples, speed), rng)
    spoken = original if speed == 1 else change_speed(original, speed, num_samples)
    drawn = augmenter.draw(num_samples, rng, draw_speech)
    wave = augmenter.apply([spoken], [drawn])[0]
    return View(original, spoken, wave, drawn, speed, augmenter.draw_erasure(rng))


def describe(view: View) -> str:
    """What was drawn, in words."""
    drawn = view.drawn
    room = "" if drawn.room is None else ("measured room" if drawn.rt60_s is None else "simulated room")
    kinds = [additive_noise.kind for additive_noise in drawn.additive_noises]
    speed = "" if view.speed == 1 else f"speed {float(view.speed):g}"
    clipped = "" if drawn.clip_share is None else f"clipped at {drawn.clip_share:.0%}"
    coded = "" if drawn.coding is None else f"{drawn.coding.codec} {drawn.coding.kbit_per_s:g}"
    erased = f"-{view.erasure[1]} frames -{view.erasure[3]} bands" if view.erasure.any() else ""
    tilt = "" if drawn.tilt_db is None else "tilt"
    effects = [speed, room, tilt, *kinds, drawn.band or "", clipped, coded, erased]
    return ", ".join(filter(None, effects)) or "nothing"


def measure(view: View) -> list[str]:
    """A row of the table: what was drawn, and what is found in the samples."""
    drawn = view.drawn
    level_db = 10 * np.log10(power(view.wave) / power(view.spoken))
    return [
        describe(view),
        f"{level_db:+.1f} ({drawn.gain_db:+.1f})",
        _ratios(view),
        "" if drawn.room is None else f"{_decay_s(drawn.room):.2f} ({_rt60(drawn)})",
        "" if drawn.band is None else _band(view),
        "" if view.speed == 1 else f"{_speed(view):.3f} ({float(view.speed):g})",
    ]


def _rt60(drawn: Drawn) -> str:
    return "measured" if drawn.rt60_s is None else f"{drawn.rt60_s:.2f}"


def _ratios(view: View) -> str:
    """Power of everything before each noise over that of what it added, in dB."""
    quiet = view.drawn._replace(band=None, gain_db=-40.0)  # nothing clips
    found = []
    for number, additive_noise in enumerate(view.drawn.additive_noises):
        before, after = (
            Augmenter.apply([view.spoken], [quiet._replace(additive_noises=quiet.additive_noises[:count])])[0]
            for count in (number, number + 1)
        )
        ratio_db = 10 * np.log10(power(before) / max(power(after - before), 1e-20))
        found.append(f"{ratio_db:.1f} ({additive_noise.snr_db:.1f})")
    return ", ".join(found)


def _decay_s(room: np.ndarray) -> float:
    """Reverberation time of a response, extrapolated from 20 dB of its decay (ISO 3382-1: T20)."""
    tail = room[int(np.abs(room).argmax()) + RATE_HZ // 400 :].astype(np.float64)
    left_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2) + 1e-12)
    first, last = int(np.argmax(left_db < -5)), int(np.argmax(left_db < -25))
    slope_db = np.polyfit(np.arange(first, last), left_db[first:last], 1)[0]
    return float(-60 / slope_db / RATE_HZ)


def _band(view: View) -> str:
    """Where the view's spectrum is half as large in amplitude as without the band limit."""
    linear = view.drawn._replace(gain_db=-40.0)
    limited, whole = (
        np.abs(np.fft.rfft(Augmenter.apply([view.spoken], [drawn])[0])) ** 2
        for drawn in (linear, linear._replace(band=None))
    )
    frequency_hz = np.fft.rfftfreq(len(view.spoken), 1 / RATE_HZ)
    width = 25
    kernel = np.ones(width) / width
    kept = np.convolve(limited, kernel, "same") > 0.25 * np.convolve(whole, kernel, "same")
    at = int(np.searchsorted(frequency_hz, 1000.0))  # from here to where it first falls, on both sides
    passed_hz = frequency_hz[at - int(np.argmin(kept[at::-1])) : at + int(np.argmin(kept[at:]))]
    edges = BANDS[view.drawn.band] if view.drawn.band else None
    drawn_edges = "" if edges is None else f" ({edges.low_hz:.0f}-{edges.high_hz:.0f})"
    return f"{passed_hz.min():.0f}-{passed_hz.max():.0f}{drawn_edges}"


def _speed(view: View) -> float:
    """Ratio of the frequencies of the same sounds after and before."""
    axis_hz = 100 * 2 ** np.arange(0, 5, 0.0005)

    def spectrum(wave: np.ndarray) -> np.ndarray:
        power_F = np.abs(np.fft.rfft(wave, 1 << 17)) ** 2
        smooth = np.convolve(power_F, np.ones(9) / 9, "same")
        logarithm = np.log(np.interp(axis_hz, np.fft.rfftfreq(1 << 17, 1 / RATE_HZ), smooth) + 1e-12)
        centred: np.ndarray = logarithm - logarithm.mean()
        return centred

    before, after = spectrum(view.original), spectrum(view.spoken)
    shifts = np.arange(-1100, 1101)
    middle = before[1100:-1100]
    alike = [np.mean(middle * after[1100 + shift : len(after) - 1100 + shift]) for shift in shifts]
    return float(2 ** (shifts[int(np.argmax(alike))] * 0.0005))


def draw(views: Sequence[View], path: Path) -> None:
    """Spectrograms of the views, as the student sees them, labelled with what was drawn."""
    from matplotlib import pyplot
    from PIL import Image

    pyplot.switch_backend("agg")

    features = build_features(FeatureConfig())
    waves = torch.from_numpy(np.stack([view.wave for view in views]))
    seen = erase(features(waves), torch.from_numpy(np.stack([view.erasure for view in views]))).numpy()
    figure, axes = pyplot.subplots(5, 4, figsize=(15, 9), dpi=60, layout="constrained")
    for number, (axis, view, picture) in enumerate(zip(axes.flat, views, seen, strict=True)):
        low, high = np.percentile(picture, [2, 99.5])
        axis.imshow(picture, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high)
        ratios = ", ".join(f"{one.kind} {one.snr_db:.0f} dB" for one in view.drawn.additive_noises)
        kept = describe(view._replace(drawn=view.drawn._replace(additive_noises=())))
        label = ", ".join(filter(None, [kept if kept != "nothing" or not ratios else "", ratios]))
        axis.set_title(fill(f"{number:02}: {label}", 52), fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]  # Agg has it
    pyplot.close(figure)
    Image.fromarray(pixels).quantize(20, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
