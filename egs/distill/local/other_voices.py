#!/usr/bin/env python3
"""Every utterance of data directories once more, by a voice that nobody has: OUT/wav.scp and its audio.

    local/other_voices.py --data data/train --data data/unlabelled --out data/voices

A teacher can embed any voice, so that its student need not run out of them. Praat moves the formants of an
utterance, as a shorter or longer vocal tract would, and the median of its pitch, both at random ("Change
gender"; pitch-synchronous overlap-add: Moulines and Charpentier, Speech Communication 9, 1990). Words and
times stay. Every utterance is a person of its own: there is no utt2spk.

An utterance depends on its id, --copy and --seed alone. Interrupted, the same command continues. Needs
praat-parselmouth (GPL-3), which the package does not depend on.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import sys
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from sdpn.cli.numbers import at_least
from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.atomic import atomic_path
from sdpn.io.kaldi import Utterance, read_data_dir, refuse_shared_ids, write_data_dir

#: Where Praat looks for the pitch of a voice, in Hz; that of children is below 600.
_PITCH_HZ = (75.0, 600.0)


@dataclass(frozen=True)
class Voices:
    """What is drawn for each utterance, evenly on a logarithmic scale.

    Attributes:
        formants: range of the ratio of its formants; 1.1 is a vocal tract that is a tenth shorter.
        semitones: its pitch moves by at most so many, up or down.
        copy: number of the copy: another voice of the same utterance.
        seed: random seed.
    """

    formants: tuple[float, float] = (0.85, 1.18)
    semitones: float = 5.0
    copy: int = 1
    seed: int = 0

    def of(self, key: str) -> tuple[float, float]:
        """Ratios of formants and of pitch for the utterance ``key``."""
        rng = np.random.default_rng([self.seed, self.copy, zlib.crc32(key.encode())])
        formants = float(np.exp(rng.uniform(*np.log(self.formants))))
        return formants, float(2 ** (rng.uniform(-self.semitones, self.semitones) / 12))


def other_voice(
    samples_T: np.ndarray, formants: float, pitch: float, *, rate_hz: int = audio.RATE_HZ
) -> np.ndarray:
    """An utterance with other formants and another pitch.

    Args:
        samples_T: its samples, float.
        formants: ratio of its formants.
        pitch: ratio of the median of its pitch; what has none (a whisper) keeps that of Praat.
        rate_hz: its rate.

    Returns:
        float32, of the same length, no louder than full scale.
    """
    from parselmouth import PraatWarning, Sound, praat

    praat.run(
        "random_initializeWithSeedUnsafelyButPredictably (1)"
    )  # it places pulses where there is no voice
    sound = Sound(samples_T.astype(np.float64), rate_hz)
    pitches = praat.call(sound, "To Pitch", 0.0, *_PITCH_HZ)
    median_hz = praat.call(pitches, "Get quantile", 0.0, 0.0, 0.5, "Hertz")
    to_hz = median_hz * pitch if np.isfinite(median_hz) else 0.0  # 0 leaves it
    with warnings.catch_warnings():  # of a whisper, that there is no voice in it
        warnings.simplefilter("ignore", PraatWarning)
        changed = praat.call(sound, "Change gender", *_PITCH_HZ, formants, to_hz, 1.0, 1.0)
    found_T = np.asarray(changed.values[0], dtype=np.float32)
    found_T = np.pad(found_T, (0, max(0, len(samples_T) - len(found_T))))[: len(samples_T)]
    return found_T / max(1.0, float(np.abs(found_T).max()))


def _write(utterance: Utterance, folder: Path, voices: Voices) -> Utterance:
    """Write one utterance, unless it is there."""
    digest = hashlib.sha256(utterance.id.encode()).hexdigest()
    name = (
        f"{digest[:2]}/{digest[:24]}-{voices.copy}"  # not every file system likes a million files in a folder
    )
    path = folder / f"{name}.flac"
    if not path.is_file():
        length_s = None if utterance.end_s is None else utterance.end_s - utterance.start_s
        samples_T = audio.read(
            utterance.path, channel=utterance.channel, start_s=utterance.start_s, duration_s=length_s
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            soundfile.write(
                part, other_voice(samples_T, *voices.of(utterance.id)), audio.RATE_HZ, format="FLAC"
            )
    return Utterance(f"{utterance.id}-voice{voices.copy}", path.resolve())


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line.

    Raises:
        InputError: Praat is not installed, or the data cannot be used.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--data", type=Path, action="append", required=True, metavar="DIR", help="data directory; repeatable"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="data directory to make")
    parser.add_argument(
        "--formants",
        type=float,
        nargs=2,
        default=Voices.formants,
        metavar=("LOW", "HIGH"),
        help="range of the ratio of formants (default: %(default)s)",
    )
    parser.add_argument(
        "--semitones",
        type=float,
        default=Voices.semitones,
        help="the pitch moves by at most so many (default %(default)s)",
    )
    parser.add_argument(
        "--copy", type=at_least(1), default=1, help="number of the copy (default %(default)s)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument(
        "--nj", type=at_least(1), default=os.cpu_count(), help="processes (default: all cores)"
    )
    args = parser.parse_args(argv)
    low, high = args.formants
    if not 0.5 <= low <= high <= 2 or not 0 <= args.semitones <= 24:
        raise InputError("--formants wants two ratios from 0.5 to 2, the lower first; --semitones 0 to 24")
    try:
        import parselmouth  # noqa: F401 - asked for before hours of work
    except ImportError:
        raise InputError("needs Praat", hint="pip install praat-parselmouth") from None
    make_voices(args.data, args.out, Voices((low, high), args.semitones, args.copy, args.seed), args.nj)


def make_voices(directories: Sequence[Path], out: Path, voices: Voices, num_processes: int) -> None:
    """Write the audio of another voice for each utterance, and then the data directory.

    Args:
        directories: Kaldi data directories.
        out: data directory to make; audio that is there is kept.
        voices: what voices.
        num_processes: how many work.

    Raises:
        InputError: two utterances share an id, or one cannot be read.
    """
    found = [read_data_dir(directory) for directory in directories]
    utterances = [one for part in found for one in part]
    refuse_shared_ids([one.id for one in utterances], directories, [len(part) for part in found])
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        made = pool.imap(partial(_write, folder=out / "audio", voices=voices), utterances, chunksize=8)
        write_data_dir(out, tqdm(made, total=len(utterances), desc="voices", unit="utterance", disable=None))
    print(f"{out.name}: {len(utterances)} utterances of as many voices", flush=True)


if __name__ == "__main__":
    sys.exit(main())
