#!/usr/bin/env python3
"""Turn folders of speech into mel features in the layout of the exercise (docs/speaker_id.md).

Speakers are <corpus>-<folder>: a folder of the same name in two corpora is two people. Those with too few
utterances to be split are left out, and counted. The features are those of --config before normalisation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from sdpn.cli.script import script
from sdpn.data.mel_folder import write_mel_folder
from sdpn.errors import InputError
from sdpn.features.registry import build_features
from sdpn.io.atomic import atomic_directory
from sdpn.io.corpus import find_speakers
from sdpn.io.kaldi import Utterance
from sdpn.training.config import load_run_config


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an old one is replaced")
    parser.add_argument(
        "--corpus", type=Path, action="append", required=True, metavar="DIR", help="may be repeated"
    )
    parser.add_argument("--config", type=Path, required=True, metavar="YAML", help="its section 'features'")
    parser.add_argument("--least", type=int, default=5, help="utterances of a speaker; default 5")
    parser.add_argument(
        "--longest",
        type=float,
        default=0.0,
        metavar="S",
        help="cut utterances to so many seconds; default: no",
    )
    args = parser.parse_args(argv)
    with atomic_directory(args.out) as folder:
        prepare(folder, args.corpus, args.config, args.least, args.longest)


def prepare(out: Path, corpora: Sequence[Path], config: Path, least: int, longest_s: float) -> None:
    """Write the folder and print what it holds.

    Raises:
        InputError: a corpus is missing or empty, a file cannot be read, or no speaker has enough utterances.
    """
    features = build_features(load_run_config(config).features)
    everybody = find_speakers(corpora)
    chosen = {person: files for person, files in everybody.items() if len(files) >= least}
    if not chosen:
        raise InputError(f"no speaker has {least} utterances", path=corpora[0])
    seconds = 0.0

    def mels() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal seconds
        for person, files in chosen.items():
            for file in files:
                wave_S = Utterance(person, file.path, 0.0, longest_s or None).read()
                seconds += len(wave_S) / 16_000
                mel_1FT = features.log_mel(torch.from_numpy(wave_S).unsqueeze(0))
                yield person, mel_1FT[0].T.numpy()

    write_mel_folder(out, mels(), num_mels=features.num_mels)
    print(
        f"{sum(map(len, chosen.values()))} utterances of {len(chosen)} speakers, "
        f"{seconds / 3600:.2f} h; {len(everybody) - len(chosen)} speakers have fewer than {least} utterances"
    )


if __name__ == "__main__":
    sys.exit(main())
