#!/usr/bin/env python3
"""Equal error rates against the number of labelled speakers, for several ways of using them.

Every run trains one method (a YAML file) on the utterances of so many speakers with one seed, by the function
of 'sdpn finetune', and scores the lists of --test. It writes RUNS/METHOD.SPEAKERS.SEED.json and the scores
beside it when it is done: started again, only those that are missing are run. The speakers of a seed are
nested: those of 10 are among those of 25. Few speakers are drawn of those with --least utterances or more.
With --passes, a run of few utterances ends early: after so many passes over them, but not before 100 steps.

A method called scratch starts from random weights of the same network. 0 speakers is the model itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdpn.cli.script import script
from sdpn.config import load_config, to_dict
from sdpn.errors import InputError
from sdpn.interop.read import read_any
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.kaldi import Utterance, read_data_dir, refuse_shared_ids, write_data_dir
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.registry import build_encoder
from sdpn.pretrained import model_path
from sdpn.training.comparison import TrialList, read_trial_list, trial_file
from sdpn.training.finetune import FinetuneSources, finetune
from sdpn.training.finetune_config import FinetuneConfig
from sdpn.training.loop import Stopped

#: Name of the method that starts from random weights.
SCRATCH = "scratch"
#: Name of the number of speakers that are all there are.
ALL = "all"
#: Steps that --passes leaves to any run.
_LEAST_STEPS = 100


@dataclass(frozen=True)
class Run:
    """One training: a method, a number of speakers, a seed."""

    method: Path
    speakers: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method.stem}.{self.speakers}.{self.seed}"


@script
def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code: 3 if runs are missing because time was up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="model that is fine-tuned")
    add("--data", type=Path, action="append", required=True, help="labelled data directory; may be repeated")
    add(
        "--test",
        type=Path,
        action="append",
        required=True,
        help="data directory with trials; may be repeated",
    )
    add("--method", type=Path, action="append", required=True, help="YAML of sdpn finetune; may be repeated")
    add("--runs", type=Path, required=True, help="folder of results")
    add("--speakers", default=f"0,10,25,50,125,{ALL}", help="default %(default)s")
    add("--ends", type=int, default=3, help="seeds of the fewest and of all; default 3")
    add("--between", type=int, default=1, help="seeds in between; default 1")
    add("--least", type=int, default=5, help="utterances of a speaker to be one of few; default 5")
    add("--passes", type=int, default=0, help="over the utterances, at most; default 0: no limit")
    add("--minutes", type=float, default=0.0, help="no run begins after so many; default 0: no end")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of all methods")
    args = parser.parse_args(argv)
    try:
        return measure(args)
    except Stopped as stopped:
        print(f"efficiency.py: {stopped}; run the command again for the rest", file=sys.stderr)
        return 128 + stopped.signal_number


def measure(args: argparse.Namespace) -> int:
    """Run what is missing, the ends first."""
    began = time.monotonic()
    directories = [read_data_dir(directory) for directory in args.data]
    utterances = [one for found in directories for one in found]
    refuse_shared_ids([one.id for one in utterances], args.data, [len(found) for found in directories])
    lists = {}
    for one in args.test:
        file = trial_file(one, args.runs / f"{one.name}.trials", most=50_000, seed=0)
        lists[one.name] = read_trial_list(one, file)
    numbers = args.speakers.split(",")
    few = [number for number in numbers if number not in ("0", ALL)]
    if "0" in numbers:
        untouched(args, lists)
    ends = [ALL, *few[:1]] if ALL in numbers else few[:1]
    runs = [
        Run(method, number, seed)
        for number in [*ends, *few[1:]]
        for seed in range(args.ends if number in ends else args.between)
        for method in args.method
    ]
    # one seed of everything before further seeds of the ends
    for run in sorted(runs, key=lambda run: run.seed):
        if (args.runs / f"{run.name}.json").is_file():
            continue
        if args.minutes and time.monotonic() - began > 60 * args.minutes:
            print("time is up; run the command again for the rest", file=sys.stderr)
            return 3
        train(args, run, utterances, lists)
    return 0


def train(
    args: argparse.Namespace, run: Run, utterances: Sequence[Utterance], lists: dict[str, TrialList]
) -> None:
    """Train, score and write one run."""
    began, busy = time.monotonic(), time.process_time()
    work = args.runs / f"{run.name}.work"
    chosen = set(drawn(utterances, run.speakers, run.seed, args.least))
    used = [one for one in utterances if one.speaker in chosen]
    if not (work / "data/wav.scp").is_file():
        (work / "data").mkdir(parents=True, exist_ok=True)
        write_data_dir(work / "data", used)
    start = args.model
    if run.method.stem == SCRATCH:
        start = work / "random"
        if not start.is_dir():
            save_model(start, with_random_weights(args.model, run.seed))
    config = load_config(FinetuneConfig, run.method, [f"training.seed={run.seed}", *args.set])
    steps = enough_steps(config.training.steps, config.training.batch_size, len(used), args.passes)
    config = replace(config, training=replace(config.training, steps=steps))
    sources = FinetuneSources(model=start, data=[work / "data"])
    results = finetune(config, sources, work / "exp", new_head=True)
    document = {
        "method": run.method.stem,
        "speakers": run.speakers,
        "num_speakers": len(chosen),
        "num_utterances": len(used),
        "seed": run.seed,
        "steps": results["steps"],
        "trained_parameters": results["trained_parameters"],
        "encoder_parameters": results["encoder_parameters"],
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - busy,
        "settings": to_dict(config),
    }
    write(args.runs, run.name, document, Embedder(read_model(work / "exp/model")), lists)
    shutil.rmtree(work)


def untouched(args: argparse.Namespace, lists: dict[str, TrialList]) -> None:
    """Score the model as it is, which is every method with 0 speakers."""
    if not (args.runs / "untouched.0.0.json").is_file():
        document = {"method": "untouched", "speakers": "0", "num_speakers": 0, "num_utterances": 0, "seed": 0}
        write(args.runs, "untouched.0.0", document, Embedder(read_any(args.model)), lists)


def write(
    runs: Path, name: str, document: dict[str, object], model: Embedder, lists: dict[str, TrialList]
) -> None:
    """Score the lists with a model and write the results of a run, complete or not at all."""
    stored: dict[str, Any] = {}
    eers = {}
    for key, listed in lists.items():
        scores = listed.cosines(listed.embed(model))
        eers[key] = listed.eer(scores)
        stored |= {
            f"{key}.scores": scores.astype(np.float32),
            f"{key}.is_target": listed.trials.is_target,
            f"{key}.first": listed.sides[0],
            f"{key}.second": listed.sides[1],
        }
    runs.mkdir(parents=True, exist_ok=True)
    with atomic_path(runs / f"{name}.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **stored)
    atomic_write_text(
        runs / f"{name}.json", json.dumps({**document, "eer": eers}, indent=2, default=str) + "\n"
    )
    shown = ", ".join(f"{key} {100 * eer:.2f} %" for key, eer in eers.items())
    seconds = document.get("seconds")
    spent = "" if seconds is None else f"  ({seconds:.0f} s)"
    print(f"{name}: EER {shown}{spent}", flush=True)


def drawn(utterances: Sequence[Utterance], number: str, seed: int, least: int) -> list[str]:
    """The speakers of a run."""
    counts = Counter(one.speaker for one in utterances if one.speaker is not None)
    if number == ALL:
        return sorted(counts)
    known = sorted(speaker for speaker, count in counts.items() if count >= least)
    if int(number) > len(known):
        raise InputError(f"{number} speakers are asked for; {len(known)} have at least {least} utterances")
    return [known[index] for index in np.random.default_rng(seed).permutation(len(known))[: int(number)]]


def enough_steps(steps: int, batch_size: int, utterances: int, passes: int) -> int:
    """The steps of a run: those of its method, or fewer that make so many passes over its utterances."""
    if not passes:
        return steps
    return min(steps, max(_LEAST_STEPS, passes * utterances // batch_size))


def with_random_weights(model: Path, seed: int) -> ModelFolder:
    """A network of the sizes and features of a model, untrained."""
    given = read_any(model_path(model))
    torch.manual_seed(seed)
    encoder = build_encoder(given.encoder_config, given.features.num_mels).eval()
    return ModelFolder(encoder, given.encoder_config, given.features)


if __name__ == "__main__":
    sys.exit(main())
