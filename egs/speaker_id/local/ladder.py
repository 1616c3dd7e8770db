#!/usr/bin/env python3
"""Train every rung of the ladder on every fold, for equal time.

A rung is a YAML file of conf/. Its steps are what fit into --seconds of CPU time, by the time of a step that
is measured once, before the first run, and stored in OUT/study.json. Its learning rate is the best of --rates
after --tune_seconds each, on utterances that no fold tests. Every run writes a JSON file below OUT/runs when
it is done: started again, the study continues where it was, and is the same one. Folds come one after the
other, so that what is there compares all rungs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from step_time import step_times
from study import Settings, digest_of, open_study

from sdpn.cli.script import script
from sdpn.data.mel_folder import MAPPING, METADATA, MelReader, read_mel_folder
from sdpn.data.sampler import Mixture
from sdpn.data.utterance_table import UtteranceTable
from sdpn.distill.supervised import SupervisedConfig
from sdpn.errors import InputError
from sdpn.extraction.shard import parse_shard
from sdpn.features.given import GivenFeatures
from sdpn.features.registry import build_features
from sdpn.io.atomic import atomic_write_text
from sdpn.io.json_text import read_json
from sdpn.io.kaldi import Utterance
from sdpn.metrics.classification import classification_figures
from sdpn.models.classifier import read_classifier
from sdpn.models.folder import read_model
from sdpn.report.events import read_event_log
from sdpn.training.classification import embed_mels
from sdpn.training.config import RunConfig, load_run_config
from sdpn.training.labelled import Labelled, labelled_data, stratified_folds
from sdpn.training.loop import Stopped
from sdpn.training.pretrain import pretrain

#: Points of a training curve.
_POINTS = 20


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        rung: name of the rung.
        rate: peak learning rate.
        fold: which one is tested; None for the utterances that learning rates are chosen on.
        seconds: CPU time of its training steps.
        steps: that fit into them.
    """

    rung: str
    rate: float
    fold: int | None
    seconds: float
    steps: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.rung}.tune.{self.rate:g}" if self.fold is None else f"{self.rung}.fold{self.fold}"


class Ladder:
    """The runs of all rungs on one folder of mel features.

    Args:
        data: the folder.
        out: where results go.
        folds: number of folds.
        tunes: whether to set utterances aside that learning rates are chosen on.

    Raises:
        InputError: the folder cannot be used, or its utterances do not suffice.
    """

    def __init__(self, data: Path, out: Path, *, folds: int, tunes: bool) -> None:
        self._data, self._out = data, out
        self._mels = read_mel_folder(data)
        self.reader = MelReader(self._mels, cache_mb=4096)
        everything = UtteranceTable(self._mels.utterances)
        number_of = {name: number for number, name in enumerate(self._mels.names)}
        label_N = np.array([number_of[self._mels.class_of[key]] for key in everything.ids])
        aside_N = aside(label_N, folds) if tunes else np.zeros(len(label_N), dtype=bool)
        rest = UtteranceTable(everything[int(index)] for index in np.flatnonzero(~aside_N))
        labelled = partial(labelled_data, class_of=self._mels.class_of, source=self._mels.source)
        self.labelled: Labelled = labelled(
            SupervisedConfig(), everything, Mixture((len(everything),)), names=self._mels.names
        )
        self._tested: dict[int | None, list[Utterance]] = {
            None: [everything[int(index)] for index in np.flatnonzero(aside_N)]
        }
        for fold in range(folds):
            with _quiet() if fold else nullcontext():  # every fold warns of the same classes
                self._tested[fold] = labelled(
                    SupervisedConfig(folds=folds, fold=fold),
                    rest,
                    Mixture((len(rest),)),
                    names=self._mels.names,
                ).validation
        if tunes and not aside_N.any():
            raise InputError(
                f"no speaker has more than {folds} utterances, so that none are left to choose a rate on",
                path=data,
                hint="give one rate, or fewer --folds",
            )
        for one in everything:  # a file that cannot be used ends the study before it begins
            self.reader.read(one)

    def result(self, rung: Path, run: Run, settings: Sequence[str]) -> dict[str, Any]:
        """The result of a run, from its file if it is there.

        Args:
            rung: its YAML file.
            run: the run.
            settings: ``section.key=value`` settings of all rungs.
        """
        file = self._out / "runs" / f"{run.name}.json"
        if file.is_file():
            return read_json(file, "result of a run")
        result = self._train(rung, run, settings)
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(result) + "\n")
        print(f"{run.name}: accuracy {result['accuracy']:.4f}, {result['steps']} steps", flush=True)
        return result

    def _train(self, rung: Path, run: Run, settings: Sequence[str]) -> dict[str, Any]:
        """Train on all utterances but those that are tested, then classify these."""
        tested = self._tested[run.fold]
        held = {one.id for one in tested}
        folder = self._out / "work" / run.name
        folder.mkdir(parents=True, exist_ok=True)  # of a run that was stopped: it is resumed
        seed = 0 if run.fold is None else run.fold
        config = load_run_config(rung, settings)
        given = [
            f"optimizer.lr={run.rate}",
            f"optimizer.warmup_steps={min(config.optimizer.warmup_steps, run.steps // 10)}",
            f"training.seed={seed}",
            f"training.steps={run.steps}",
            f"training.log_every={max(1, run.steps // _POINTS)}",
            f"training.watch_every={run.steps}",
            f"training.checkpoint_every={run.steps}",
        ]
        trained = load_run_config(rung, [*settings, *given])
        # what is tested is left out: nothing is measured on it during training, and no step chosen by it
        part = self.reader.part([one for one in self._mels.utterances if one.id not in held])
        pretrain(trained, [self._data], folder / "exp", mel_reader=part)
        curve = read_event_log(folder / "exp/tensorboard").scalars["loss/error"]
        model, classifier = read_model(folder / "exp/model"), read_classifier(folder / "exp/model")
        began_s = time.process_time()
        rows_ND = embed_mels(
            model.encoder,
            GivenFeatures(build_features(model.features)),
            self.reader,
            tested,
            device=torch.device("cpu"),
        )
        found = classifier.names_of(classifier.logits(torch.from_numpy(rows_ND)))
        test_s = time.process_time() - began_s
        shutil.rmtree(folder)
        truth = [self._mels.class_of[one.id] for one in tested]
        return {
            **asdict(run),
            "seed": seed,
            "test_s": test_s,
            "encoder_parameters": sum(tensor.numel() for tensor in model.encoder.parameters()),
            **classification_figures(np.array(truth), np.array(found)),
            "curve": sorted(curve.items()),
            "utterances": [one.id for one in tested],
            "truth": truth,
            "found": found,
        }


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of classes that are too small."""
    logger = logging.getLogger("sdpn.training.labelled")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def aside(label_N: np.ndarray, folds: int) -> np.ndarray:
    """Which utterances learning rates are chosen on, and no fold tests.

    One part of ``folds`` + 1 of every class that is left with an utterance for each fold.

    Args:
        label_N: class of each utterance, int64.
        folds: number of folds.

    Returns:
        (N,) bool.
    """
    enough_K = np.bincount(label_N) > folds
    parts_N = stratified_folds(label_N, folds + 1, seed=1)
    chosen_N: np.ndarray = (parts_N == 0) & enough_K[label_N]
    return chosen_N


@script
def climb(args: argparse.Namespace) -> None:
    """Run what is missing of the study.

    Raises:
        InputError: the data, a rung or a setting cannot be used, or OUT holds another study.
    """
    shard = None if args.shard is None else parse_shard(args.shard)
    rungs = {rung.stem: rung for rung in args.rung}
    if len(rungs) < len(args.rung):
        raise InputError("two rungs have the same name")
    configs = {name: load_run_config(rung, args.set) for name, rung in rungs.items()}
    lists = [args.data / METADATA, args.data / MAPPING]
    ladder = Ladder(args.data, args.out, folds=args.folds, tunes=len(args.rates) > 1)
    settings = Settings(digest_of(lists), args.folds, args.seconds, args.tune_seconds, args.rates)

    def measure(some: Mapping[str, RunConfig]) -> dict[str, float]:
        return step_times(some, ladder.reader, ladder.labelled)

    step_s = open_study(args.out, settings, configs, measure)

    def run_of(name: str, rate: float, fold: int | None, seconds: float) -> dict[str, Any]:
        run = Run(name, rate, fold, seconds, max(2, round(seconds / step_s[name])))
        return ladder.result(rungs[name], run, args.set)

    if args.only_times:
        return
    mine = list(rungs) if shard is None else shard.of(list(rungs))
    best: dict[str, float] = {}
    for name in mine:
        tried = {
            rate: run_of(name, rate, None, args.tune_seconds)
            for rate in (args.rates if len(args.rates) > 1 else ())
        }
        best[name] = max(tried, key=lambda rate: tried[rate]["accuracy"], default=args.rates[0])
    for fold, name in itertools.product(range(args.folds), mine):
        run_of(name, best[name], fold, args.seconds)


def _positive(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    """A number of the command line."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {least:g}")
        return value

    return parse


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate < float("inf") for rate in rates):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of learning rates such as 1e-3,2e-3")
    return rates


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of mel features")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rung", type=Path, action="append", required=True, metavar="YAML", help="in order")
    parser.add_argument("--folds", type=_positive(int, 2), default=5, help="default 5")
    seconds = _positive(float, 0.01)
    parser.add_argument("--seconds", type=seconds, default=40.0, help="CPU seconds of a run; default 40")
    parser.add_argument("--tune_seconds", type=seconds, default=10.0, help="CPU seconds; default 10")
    parser.add_argument(
        "--rates", type=_rates, default="1e-3,2e-3,4e-3,8e-3", help="learning rates; default %(default)s"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="setting of all rungs"
    )
    parser.add_argument("--only_times", action="store_true", help="measure steps, and train nothing")
    parser.add_argument("--shard", metavar="I/N", help="every N-th rung, from I (default: all)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = make_parser().parse_args(argv)
    torch.set_num_threads(1)
    try:
        return climb(args)
    except Stopped as stopped:
        print(f"ladder.py: {stopped}; the same command continues", file=sys.stderr)
        return 128 + stopped.signal_number


if __name__ == "__main__":
    sys.exit(main())
