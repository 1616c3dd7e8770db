#!/usr/bin/env python3
"""Train every rung of the ladder on every fold, for equal time.

A rung is a YAML file of conf/. Its steps are what fit into --seconds of CPU time on this machine, measured
before; its learning rate is the best of --rates after --tune_seconds each, on a split of its own. Every run
writes one JSON file below OUT/runs when it is done: started again, only those that are missing are run. Folds
come one after the other, so that what is there compares all rungs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdpn.data.mel_folder import MelReader, MelSegments, read_mel_folder
from sdpn.data.sampler import Mixture
from sdpn.data.utterance_table import UtteranceTable
from sdpn.distill.supervised import SupervisedConfig
from sdpn.errors import InputError
from sdpn.features.given import GivenFeatures
from sdpn.features.registry import build_features
from sdpn.io.atomic import atomic_write_text
from sdpn.io.json_text import read_json
from sdpn.metrics.classification import classification_figures
from sdpn.models.classifier import read_classifier
from sdpn.models.folder import read_model
from sdpn.training.build import build
from sdpn.training.classification import embed_mels
from sdpn.training.config import RunConfig, load_run_config
from sdpn.training.distributed import Processes
from sdpn.training.labelled import Labelled, labelled_data
from sdpn.training.pretrain import pretrain
from sdpn.training.step import Update

#: Steps that are measured, after as many to warm up.
_MEASURED = 12

#: Seed of the split that learning rates are chosen on; the folds of the figures have 0.
_TUNING_SPLIT = 1


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        rung: name of the rung.
        rate: peak learning rate.
        split_seed: seed of the folds.
        fold: which one is tested.
        seconds: CPU time of its training steps.
    """

    rung: str
    rate: float
    split_seed: int
    fold: int
    seconds: float

    @property
    def name(self) -> str:
        """Of its files."""
        kind = "tune" if self.split_seed else f"fold{self.fold}"
        return f"{self.rung}.{kind}.{self.rate:g}" if self.split_seed else f"{self.rung}.{kind}"


class Ladder:
    """The runs of all rungs on one folder of mel features.

    Args:
        data: the folder.
        out: where results go.
        folds: number of folds.
        extra: ``section.key=value`` settings of all rungs.
    """

    def __init__(self, data: Path, out: Path, *, folds: int, extra: Sequence[str] = ()) -> None:
        self._data, self._out, self._folds, self._extra = data, out, folds, list(extra)
        self._mels = read_mel_folder(data)
        self._reader = MelReader(self._mels, cache_mb=4096)
        self._table = UtteranceTable(self._mels.utterances)
        self._step_s: dict[str, float] = {}

    def result(self, rung: Path, run: Run) -> dict[str, Any]:
        """The result of a run, from its file if it is there."""
        file = self._out / "runs" / f"{run.name}.json"
        if file.is_file():
            return read_json(file, "result of a run")
        result = self._train(rung, run)
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(result) + "\n")
        print(f"{run.name}: accuracy {result['accuracy']:.4f}, {result['steps']} steps", flush=True)
        return result

    def _train(self, rung: Path, run: Run) -> dict[str, Any]:
        """Train on all folds but one, then classify the utterances of that one."""
        split = SupervisedConfig(folds=self._folds, fold=run.fold, split_seed=run.split_seed)
        labelled = labelled_data(
            split,
            self._table,
            Mixture((len(self._table),)),
            self._mels.class_of,
            self._mels.source,
            names=self._mels.names,
        )
        folder = self._out / "work" / run.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        labels = folder / "labels"
        # the tested fold has no labels: nothing is measured on it during training, and no step chosen by it
        rows = [f"{key} {self._mels.class_of[key]}\n" for key in labelled.utterances.ids]
        labels.write_text("".join(rows), encoding="utf-8")
        given = [
            f"supervised.labels={json.dumps(str(labels))}",
            "supervised.unlabelled=drop",
            f"optimizer.lr={run.rate}",
            f"training.seed={run.fold}",
            *self._extra,
        ]
        config = load_run_config(rung, given)
        step_s = self._measured(rung, config, labelled)
        steps = max(2, round(run.seconds / step_s))
        lengths = [
            f"training.steps={steps}",
            f"optimizer.warmup_steps={min(config.optimizer.warmup_steps, steps // 10)}",
            f"training.watch_every={steps}",
            f"training.checkpoint_every={steps}",
        ]
        began_s = time.process_time()
        pretrain(load_run_config(rung, [*given, *lengths]), [self._data], folder / "exp")
        used_s = time.process_time() - began_s
        model, classifier = read_model(folder / "exp/model"), read_classifier(folder / "exp/model")
        began_s = time.process_time()
        rows_ND = embed_mels(
            model.encoder,
            GivenFeatures(build_features(model.features)),
            self._reader,
            labelled.validation,
            device=torch.device("cpu"),
        )
        logits_NK = classifier.logits(torch.from_numpy(rows_ND))
        test_s = time.process_time() - began_s
        shutil.rmtree(folder)
        names = np.array(classifier.classes.names)
        truth_N = np.array([self._mels.class_of[one.id] for one in labelled.validation])
        found_N = names[logits_NK.argmax(1).numpy()]
        return {
            **asdict(run),
            "steps": steps,
            "step_s": step_s,
            "cpu_s": used_s,
            "test_s": test_s,
            "encoder_parameters": sum(tensor.numel() for tensor in model.encoder.parameters()),
            **classification_figures(truth_N, found_N),
            "utterances": [one.id for one in labelled.validation],
            "truth": truth_N.tolist(),
            "found": found_N.tolist(),
        }

    def _measured(self, rung: Path, config: RunConfig, labelled: Labelled) -> float:
        """CPU seconds of a training step of a rung, loading included; the median of some."""
        known = self._step_s.get(rung.stem)
        if known is not None:
            return known
        torch.manual_seed(0)
        network = build(config, labelled.labels, given_features=True).train()
        update = Update(config, network, Processes(0, 1, torch.device("cpu")))
        segments = MelSegments(
            self._mels,
            labelled.utterances,
            labelled.mixture,
            num_frames=round(1000 * config.crops.local_s / config.features.hop_ms),
            views=config.crops.num_local,
            seed=0,
            cache_mb=4096,
        )
        items = [(0, index % len(segments)) for index in range(config.training.batch_size)]
        taken = []
        for _ in range(2 * _MEASURED):
            began_s = time.process_time()
            batch, _ = segments.collate(segments.__getitems__(items))
            update(batch, lr=1e-5, momentum=0.0)
            taken.append(time.process_time() - began_s)
        self._step_s[rung.stem] = float(np.median(taken[_MEASURED:]))
        return self._step_s[rung.stem]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of mel features")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rung", type=Path, action="append", required=True, metavar="YAML", help="in order")
    parser.add_argument("--folds", type=int, default=5, help="default 5")
    parser.add_argument("--seconds", type=float, default=40.0, help="CPU seconds of a run; default 40")
    parser.add_argument("--tune_seconds", type=float, default=10.0, help="CPU seconds; default 10")
    parser.add_argument("--rates", default="1e-3,2e-3,4e-3", help="learning rates; default 1e-3,2e-3,4e-3")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="setting of all rungs"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        rates = [float(rate) for rate in args.rates.split(",")]
        ladder = Ladder(args.data, args.out, folds=args.folds, extra=args.set)
        best: dict[str, float] = {}
        for rung in args.rung:
            tried = {
                rate: ladder.result(rung, Run(rung.stem, rate, _TUNING_SPLIT, 0, args.tune_seconds))
                for rate in (rates if len(rates) > 1 else [])
            }
            best[rung.stem] = max(tried, key=lambda rate: tried[rate]["accuracy"], default=rates[0])
        for fold, rung in itertools.product(range(args.folds), args.rung):
            ladder.result(rung, Run(rung.stem, best[rung.stem], 0, fold, args.seconds))
    except InputError as error:
        print(f"ladder.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    logging.getLogger("sdpn").setLevel(logging.ERROR)  # every run warns of the same classes
    sys.exit(main())
