"""Runs the benchmark: conversations first, then every cell of every model that is not finished."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from sdpn.benchmark.evaluation_sets import EvaluationSets
from sdpn.benchmark.figures import Row
from sdpn.benchmark.finished import FinishedParts, code_digest, model_digest
from sdpn.benchmark.measure import Bench, ModelFile, Outcome
from sdpn.benchmark.plan import DEV_CORPORA, HELD_OUT, Cell, Plan, cells, held_out_sounds
from sdpn.benchmark.summary import summarise
from sdpn.diarization.pipeline import DiarizationConfig, Diarizer
from sdpn.errors import InputError
from sdpn.interop.segmentation import load_segmentation
from sdpn.io.corpus import find_speakers
from sdpn.models.embedder import Embedder
from sdpn.models.segmenter import Segmenter
from sdpn.progress import Report, unreported
from sdpn.simulation.manifest import read_manifest
from sdpn.simulation.simulate import OnProgress, silently
from sdpn.verification.back_end import BackEnd


@dataclass(frozen=True)
class Benchmark:
    """The result.

    Attributes:
        models: digest and number of parameters of each.
        rows: figures, one value for each model.
        code: digest of the source that they depend on.
        manifest: how the manifest's conversations compare with it, by recording.
    """

    models: list[dict[str, object]]
    rows: list[Row]
    code: str
    manifest: dict[str, str]


@dataclass(frozen=True)
class _Work:
    """The arguments of a process that measures cells; small, so cheap to send."""

    model: ModelFile
    sets: EvaluationSets
    plan: Plan
    config: DiarizationConfig
    segmentation: str | None


def run_benchmark(
    models: Sequence[ModelFile],
    *,
    data: Path,
    out: Path,
    plan: Plan | None = None,
    config: DiarizationConfig | None = None,
    segmentation: str | None = None,
    manifest: Path | None = None,
    jobs: int = 1,
    progress: OnProgress = silently,
    on_cell: Report = unreported,
) -> Benchmark:
    """Measure models.

    Args:
        models: what to measure; differences are to the first.
        data: folder of the corpora, laid out as in docs/benchmark.md.
        out: folder of the finished cells and conversations; a killed run continues from it.
        plan: how much to measure; None: all of it.
        config: settings of the diarization, the same for all models; None takes the defaults.
        segmentation: local segmentation network, as `sdpn.load_segmentation` takes it; None for none.
        manifest: conversations of the first dev corpus that become a row of their own.
        jobs: processes.
        progress: shows the progress of the simulation.
        on_cell: called after every finished cell.

    Raises:
        InputError: a model, corpus, trial list or manifest is missing or malformed.
    """
    plan, config = plan or Plan(), config or DiarizationConfig()
    digests = [model_digest(model) for model in models]
    if len(set(digests)) < len(digests):
        raise InputError("a model is given twice", path=models[_twice(digests)].found)
    sets = EvaluationSets(data.resolve(), out.resolve(), manifest)
    parameters = [_num_parameters(model) for model in models]  # a bad model is found before the work
    for model in models:
        Diarizer(_loaded(model)[0], config=config)  # rejects invalid settings
    segmenter = _segmenter(segmentation)
    _check(sets, plan)
    compared: dict[str, str] = {}
    if {"der", "cost"} & set(plan.parts):
        compared = sets.simulate(plan, jobs=jobs, progress=progress)
    todo = cells(plan, manifest=manifest is not None)
    inputs = {corpus: sets.digest(corpus) for corpus in {cell.corpus for cell in todo}}

    def made_from(digest: str, cell: Cell) -> list[object]:
        """What a cell depends on; scores of trials do not on how conversations are made and diarized."""
        of_all: list[object] = [digest, code_digest(), inputs[cell.corpus]]
        if cell.part == "eer":
            return of_all
        heard_by = [] if segmenter is None else [segmenter.digest, segmenter.window_samples]
        return [*of_all, repr(config), *plan.sizes, *heard_by]

    stores = [FinishedParts(out, partial(made_from, digest)) for digest in digests]
    work = [_Work(model, sets, plan, config, segmentation) for model in models]
    outcomes: list[dict[Cell, Outcome]] = [{} for _ in models]
    missing: list[tuple[int, Cell]] = []
    for cell in todo:
        for number, store in enumerate(stores):
            found = store.find(cell)
            if found is None:
                missing.append((number, cell))
            else:
                outcomes[number][cell] = found
    total = len(todo) * len(models)
    for number, cell, outcome in _measured(missing, work, jobs):
        stores[number].keep(cell, outcome)
        outcomes[number][cell] = outcome
        on_cell(cell.name, sum(map(len, outcomes)), total)
    return Benchmark(
        models=[
            {"model": str(model.found), "digest": digest, "parameters": number}
            for model, digest, number in zip(models, digests, parameters, strict=True)
        ],
        rows=summarise(todo, outcomes),
        code=code_digest(),
        manifest=compared,
    )


def _twice(digests: Sequence[str]) -> int:
    return next(number for number, digest in enumerate(digests) if digest in digests[:number])


def _num_parameters(model: ModelFile) -> int:
    embedder, _back_end = _loaded(model)
    return sum(parameter.numel() for parameter in embedder.encoder.parameters())


def _check(sets: EvaluationSets, plan: Plan) -> None:
    """Read what is cheap to read before anything is computed."""
    if not sets.data.is_dir():
        raise InputError("no such folder", path=sets.data, hint="--data is the folder of the corpora")
    if "eer" in plan.parts:
        for corpus in (*DEV_CORPORA, HELD_OUT):
            sets.verification(corpus)
    if "ami" in plan.parts:
        sets.meetings()
    if {"der", "cost"} & set(plan.parts):
        for corpus in DEV_CORPORA:
            find_speakers([sets.data / corpus / "dev"])
    if {"eer", "der", "cost"} & set(plan.parts):
        for sounds in ("noise", "rir"):
            held_out_sounds(sets.data / sounds)
    if sets.manifest is not None:
        read_manifest(sets.manifest)


def _measured(
    missing: Sequence[tuple[int, Cell]], work: Sequence[_Work], jobs: int
) -> Iterator[tuple[int, Cell, Outcome]]:
    """Measure cells in several processes; costs last and alone."""
    alone = [(number, cell) for number, cell in missing if cell.part == "cost"]
    shared = [(number, cell) for number, cell in missing if cell.part != "cost"]
    if jobs == 1 or len(shared) < 2:
        alone = shared + alone
    else:
        # spawned, since a fork would inherit the locks of torch's threads
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(jobs, len(shared)), mp_context=context) as pool:
            pending = {pool.submit(_measure, work[number], cell): (number, cell) for number, cell in shared}
            try:
                for future in as_completed(pending):
                    yield (*pending[future], future.result())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    for number, cell in alone:
        yield number, cell, _measure(work[number], cell)


def _measure(work: _Work, cell: Cell) -> Outcome:
    model, back_end = _loaded(work.model)
    segmenter = _segmenter(work.segmentation)
    return Bench(model, back_end, work.sets, work.plan, work.config, segmenter).measure(cell)


@lru_cache(maxsize=2)
def _loaded(file: ModelFile) -> tuple[Embedder, BackEnd | None]:
    """The models that a process measures are the same for many cells."""
    model = file.load()
    return model, file.back_end(model)


@lru_cache(maxsize=1)
def _segmenter(path: str | None) -> Segmenter | None:
    return None if path is None else load_segmentation(path)
