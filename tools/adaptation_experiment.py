"""Adaptation to a shifted domain: EER and DER before and after, on the new and the original domain.

    sdpn simulate --corpus corpora/train --rir corpora/rir --noise corpora/noise --num 32 --seed 5 \\
        --out exp/recordings
    python tools/adaptation_experiment.py --model exp/mini/model --recordings exp/recordings \\
        --rehearse data/train --conversations exp/dev --utterances data/dev \\
        --out exp/adaptation [section.key=value ...]

The recordings to adapt to, and the dev conversations and utterances for evaluation, are degraded by the same
channel, a telephone or a hall. The recordings are of training speakers; their annotation is not used. Two
further adaptations on the same recordings must be rejected: one without any change, and one whose learning
rate destroys the model. Finished steps are not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy import signal

from sdpn.cli.table import format_markdown
from sdpn.io.atomic import atomic_directory, atomic_write_text
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import read_data_dir

#: Settings of the adaptations that are tried, and whether the criterion ought to take them.
ATTEMPTS: Mapping[str, tuple[Sequence[str], bool]] = {
    "adapted": ((), True),
    "nothing learned": (("training.steps=0",), False),
    "destroyed": (("optimizer.lr=0.03", "training.steps=30", "guards.window=0"), False),
}


def telephone(wave_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """300 to 3400 Hz (second order below, eighth above), noise at 5 to 15 dB, 8 kHz, 8 bits of μ-law.

    Args:
        wave_S: (S,) at 16 kHz.
        rng: of the noise.

    Returns:
        (S,) at 16 kHz.
    """
    band = np.concatenate(
        [
            signal.butter(2, 300, btype="highpass", fs=RATE_HZ, output="sos"),
            signal.butter(8, 3400, fs=RATE_HZ, output="sos"),
        ]
    )
    narrow = signal.resample_poly(signal.sosfilt(band, wave_S), 1, 2)
    narrow = narrow + _noise(narrow, rng, snr_db=(5, 15), pole=0.7)
    narrow *= 0.5 / max(float(np.abs(narrow).max()), 1e-9)
    coded = np.round(127 * np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log1p(255)) / 127
    decoded = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(255)) / 255
    wide: np.ndarray = signal.resample_poly(decoded, 2, 1)[: len(wave_S)]
    return wide


def hall(wave_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A decay of 0.8 to 1.2 s, 3 dB below to 3 dB above the direct sound, and noise at 10 to 20 dB."""
    rt60_s = rng.uniform(0.8, 1.2)
    at = np.arange(int(rt60_s * RATE_HZ))
    response = rng.standard_normal(len(at)) * np.exp(-np.log(1000) * at / (rt60_s * RATE_HZ))
    response *= 10 ** (-rng.uniform(-3, 3) / 20) / np.linalg.norm(response)
    response[0] = 1.0
    wet = signal.oaconvolve(wave_S, response)[: len(wave_S)]
    wet = wet + _noise(wet, rng, snr_db=(10, 20), pole=0.9)
    loud: np.ndarray = wet * 0.5 / max(float(np.abs(wet).max()), 1e-9)
    return loud


CHANNELS: Mapping[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "telephone": telephone,
    "hall": hall,
}


def _noise(
    wave_S: np.ndarray, rng: np.random.Generator, *, snr_db: tuple[float, float], pole: float
) -> np.ndarray:
    """Low-pass noise at a random distance from the mean power of ``wave_S``."""
    noise: np.ndarray = signal.lfilter([1.0], [1.0, -pole], rng.standard_normal(len(wave_S)))
    power = float(np.mean(wave_S**2)) * 10 ** (-rng.uniform(*snr_db) / 10)
    scaled: np.ndarray = noise * np.sqrt(power / float(np.mean(noise**2)))
    return scaled


def shift(source: Path, target: Path, channel: str) -> None:
    """Send every utterance of a Kaldi data directory through a channel; ``target`` is a data directory.

    The random state is that of the channel's and the utterance's name.
    """
    if target.is_dir():
        return
    with atomic_directory(target) as folder:
        lines = []
        for utterance in read_data_dir(source):
            rng = np.random.default_rng(zlib.crc32(f"{channel} {utterance.id}".encode()))
            wave_S = CHANNELS[channel](utterance.read().astype(np.float64), rng)
            soundfile.write(folder / f"{utterance.id}.flac", wave_S, RATE_HZ)
            lines.append(f"{utterance.id} {utterance.id}.flac\n")
        (folder / "wav.scp").write_text("".join(lines), encoding="utf-8")


def run(arguments: Sequence[str | Path], results: Path) -> dict[str, Any]:
    """Results of an ``sdpn`` command, which is run unless they are there."""
    if not results.is_file():
        command = [sys.executable, "-m", "sdpn.cli.main", *map(str, arguments), "--json", str(results)]
        subprocess.run(command, check=True)
    document: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))["results"]
    return document


def measure(
    model: Path, conversations: Path, reference: Path, utterances: Path, trials: Path, out: Path
) -> tuple[float, float]:
    """EER and DER of a model, in per cent; voice activity and number of speakers are estimated."""
    audio: list[str | Path] = [utterance.path for utterance in read_data_dir(conversations)]
    run(["diarize", "--quiet", "--model", model, "--out", out / "rttm", *audio], out / "diarize.json")
    score = run(["score", "--quiet", "--ref", reference, "--hyp", out / "rttm"], out / "score.json")
    embeddings = out / "embeddings"
    extract: list[str | Path] = [
        "extract",
        "--quiet",
        "--model",
        model,
        "--data",
        utterances,
        "--out",
        embeddings,
    ]
    run(extract, out / "extract.json")
    verify: list[str | Path] = [
        "verify",
        "--quiet",
        "--trials",
        trials,
        "--embeddings",
        embeddings / "embeddings.scp",
    ]
    eer = run(verify, out / "verify.json")["eer"]
    return 100 * eer, 100 * score["total"]["der"]


def main() -> int:
    """Run what is missing, and write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder to adapt")
    parser.add_argument("--recordings", type=Path, required=True, help="data directory to adapt to")
    parser.add_argument("--rehearse", type=Path, help="data directory of the model's training speech")
    parser.add_argument(
        "--conversations", type=Path, required=True, help="output of sdpn simulate, for measuring DER"
    )
    parser.add_argument("--utterances", type=Path, required=True, help="data directory with trials")
    parser.add_argument("--channel", choices=tuple(CHANNELS), default="telephone")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "settings", nargs="*", metavar="section.key=value", help="settings of the adaptations"
    )
    args = parser.parse_args()

    shifted = args.out / args.channel
    for source, name in (
        (args.recordings, "recordings"),
        (args.conversations, "conversations"),
        (args.utterances, "utterances"),
    ):
        shift(source, shifted / name, args.channel)
    reference, trials = args.conversations / "reference.rttm", args.utterances / "trials"
    rows, models = [], {"before": args.model}
    verdicts = []
    for name, (settings, ought) in ATTEMPTS.items():
        out = shifted / name.replace(" ", "-")
        rehearse: list[str | Path] = [] if args.rehearse is None else ["--rehearse", args.rehearse]
        command: list[str | Path] = [
            "adapt",
            "--model",
            args.model,
            "--data",
            shifted / "recordings",
            *rehearse,
            "--out",
            out,
        ]
        result = run([*command, *args.settings, *settings], out.with_suffix(".json"))
        within = result["comparisons"][0]["gain"] if result["comparisons"] else float("nan")
        verdicts.append([name, f"{within:+.1%}", result["kept"], "adapted" if ought else "old"])
        if result["steps"]:  # what the adaptation would have been, whatever the criterion says
            models[name] = out.with_name(f"{out.name}.work") / "adapted"
    for name, model in models.items():
        results = shifted / "results" / name.replace(" ", "-")
        there = measure(
            model, shifted / "conversations", reference, shifted / "utterances", trials, results / "shifted"
        )
        original = measure(
            model, args.conversations, reference, args.utterances, trials, results / "original"
        )
        rows.append([name, *(f"{value:.2f}" for value in (*there, *original))])
    header = ["model", f"EER % {args.channel}", f"DER % {args.channel}", "EER % original", "DER % original"]
    text = format_markdown(header, rows) + "\n"
    text += format_markdown(["adaptation", "gain within scenes", "kept", "ought to be kept"], verdicts)
    atomic_write_text(shifted / "table.md", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
