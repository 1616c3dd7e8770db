"""The adaptation pipeline: recordings, segments, training, comparison, model folder.

Everything is kept in a work folder, so that an interrupted call can be resumed::

    WORK/settings.json      settings of this adaptation; calls with other settings are rejected
    WORK/speech.jsonl       speech found so far
    WORK/target             training segments; WORK/target_held_out: held-out segments
    WORK/old                rehearsed utterances; WORK/old_held_out: held-out ones
    WORK/training           the run: checkpoints, curves, the trained model
    WORK/adapted            the adapted model, even if it is rejected
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sdpn.adaptation.config import AdaptConfig
from sdpn.adaptation.decision import Decision, compare_separation, decide
from sdpn.adaptation.segments import find_segments, write_segments
from sdpn.adaptation.separation import (
    SCENE_S,
    HeldOutWindows,
    across_recordings,
    cut_windows,
    embed_stretches,
    within_scenes,
)
from sdpn.config import to_dict
from sdpn.distill.sdpn import SDPNConfig
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.checksum import file_sha256
from sdpn.io.json_text import read_json
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.models.blend import blend_models
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.heads import HeadConfig
from sdpn.models.pretraining import Pretraining, read_pretraining
from sdpn.progress import Report, unreported
from sdpn.training.clustering_threshold import measure_clustering_threshold
from sdpn.training.config import RunConfig
from sdpn.training.distributed import device_of
from sdpn.training.initialisation import InitialConfig
from sdpn.training.loop import TrainingProgress
from sdpn.training.pretrain import pretrain

_log = logging.getLogger(__name__)

#: Minimum number of recordings for holding out whole recordings; with fewer, scenes are held out.
_FEW_RECORDINGS = 4
#: Maximum number of held-out rehearsed utterances: more hardly narrow the interval.
_MOST_HELD_OUT = 300


@dataclass(frozen=True)
class Sources:
    """Inputs of an adaptation.

    Attributes:
        base: model folder with head and prototypes.
        recordings: from `sdpn.adaptation.segments.find_recordings`.
        rehearse: Kaldi data directory of the speech that ``base`` was trained on, if there is any.
    """

    base: Path
    recordings: Sequence[Utterance]
    rehearse: Path | None = None


def adapt(
    config: AdaptConfig,
    sources: Sources,
    *,
    out: Path,
    work: Path | None = None,
    on_training: Callable[[TrainingProgress], None] = lambda _progress: None,
    on_work: Report = unreported,
) -> dict[str, Any]:
    """Adapt a model without labels and write the better of old and adapted.

    Args:
        config: the settings.
        sources: model and speech.
        out: model folder to write, atomically.
        work: folder for intermediate files; None: OUT.work.
        on_training: called at every point of the training curves.
        on_work: called while segments are found and windows embedded.

    Returns:
        plain figures: which model was kept and why, the comparisons, and the amount of speech.

    Raises:
        InputError: the model cannot be trained on, there is too little speech, ``work`` belongs to another
            adaptation, or a guard stopped the training.
        sdpn.training.loop.Stopped: training was stopped by a signal; the same call resumes it.
    """
    work = work_folder(out) if work is None else work
    old = read_model(sources.base), read_pretraining(sources.base)
    run = run_config(config, sources.base, *old, rehearses=sources.rehearse is not None)
    _settle(work, config, sources)
    figures = _prepare(config, sources, work, on_work)
    directories = [work / "target"] + ([work / "old"] if sources.rehearse is not None else [])
    trained = pretrain(run, directories, work / "training", on_progress=on_training)

    device = str(device_of(config.training.device))
    new = read_model(trained["model"]), read_pretraining(trained["model"])
    blend = config.mixture.blend or (1.0 if sources.rehearse is not None else 0.5)
    if blend < 1:
        new = blend_models(old, new, blend)
        utterances = [utterance for directory in directories for utterance in read_data_dir(directory)]
        calibration = measure_clustering_threshold(
            Embedder(new[0], device=device),
            utterances,
            seed=config.training.seed,
            channel=config.crops.channel,
        )
        new = replace(new[0], calibration=calibration), new[1]
    save_model(work / "adapted", new[0], pretraining=new[1])
    verdict = assess(Embedder(old[0], device=device), Embedder(new[0], device=device), config, work, on_work)
    kept: Literal["adapted", "old"] = "adapted" if verdict.keeps_adapted else "old"
    model, pretraining = new if verdict.keeps_adapted else old
    decision = {
        "kept": kept,
        "reasons": list(verdict.reasons),
        "comparisons": [asdict(comparison) for comparison in verdict.comparisons],
        "blend": blend,
    }
    origin = {"weights_sha256": file_sha256(sources.base / "model.safetensors"), **old[0].source}
    source = {**model.source, "adapted_from": origin, "adaptation": decision}
    save_model(out, replace(model, source=source), pretraining=pretraining)
    return {
        "model": str(out),
        **decision,
        "steps": run.training.steps,
        "work": str(work),
        **figures,
    }


def work_folder(out: Path) -> Path:
    """Where the intermediate files of an adaptation to ``out`` lie unless another place is named."""
    return out.with_name(f"{out.name}.work")


def run_config(
    config: AdaptConfig, base: Path, model: ModelFolder, pretraining: Pretraining, *, rehearses: bool
) -> RunConfig:
    """The training run of an adaptation: SDPN from the model's own weights, head and prototypes."""
    share = config.mixture.rehearsal
    return RunConfig(
        features=model.features,
        encoder=model.encoder_config,
        head=_head_config(pretraining, base),
        teacher=config.teacher,
        sdpn=SDPNConfig(num_prototypes=len(pretraining.prototypes)),
        initial=InitialConfig(model=base, prototypes="keep"),
        crops=config.crops,
        augmentation=config.augmentation,
        optimizer=config.optimizer,
        training=replace(config.training, corpus_weights=(1 - share, share) if rehearses else ()),
        guards=config.guards,
    )


def assess(old: Embedder, new: Embedder, config: AdaptConfig, work: Path, on_work: Report) -> Decision:
    """Compare two models on the held-out speech of an adaptation.

    Args:
        old: the model that was adapted.
        new: the adapted one.
        config: with the thresholds.
        work: folder of the adaptation, with its held-out speech.
        on_work: called while windows are embedded.

    Raises:
        InputError: a file can no longer be read.
    """
    seed, confidence = config.training.seed, config.verdict.confidence

    def embed(windows: HeldOutWindows, stage: str) -> tuple[np.ndarray, np.ndarray]:
        return _embed((old, new), windows, config.crops.channel, partial(on_work, stage))

    target = cut_windows(read_data_dir(work / "target_held_out"))
    old_ND, new_ND = embed(target, "comparing on the recordings")
    within = compare_separation(
        "within scenes", within_scenes(old_ND, target), within_scenes(new_ND, target), confidence
    )
    guards = [
        compare_separation(
            "across recordings",
            across_recordings(old_ND, target, seed=seed),
            across_recordings(new_ND, target, seed=seed),
            confidence,
        )
    ]
    if (work / "old_held_out").is_dir():
        before = cut_windows(read_data_dir(work / "old_held_out"))
        old_ND, new_ND = embed(before, "comparing on rehearsed speech")
        guards.append(
            compare_separation(
                "on rehearsed speech",
                across_recordings(old_ND, before, seed=seed),
                across_recordings(new_ND, before, seed=seed),
                confidence,
            )
        )
    return decide(within, [guard for guard in guards if guard is not None], config.verdict)


def _embed(
    models: tuple[Embedder, Embedder],
    windows: HeldOutWindows,
    channel: int | None,
    on_progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, D) of both models, of unit length."""
    found: list[np.ndarray] = []
    total = len(models) * len(windows.stretches)
    for number, model in enumerate(models):
        rows = [np.zeros((0, model.embedding_dim), np.float32)]
        for unit_ND in embed_stretches(model, windows, channel=channel):
            rows.append(unit_ND)
            on_progress(number * len(windows.stretches) + len(rows) - 1, total)
        found.append(np.concatenate(rows))
    old_ND, new_ND = found
    return old_ND, new_ND


def _head_config(pretraining: Pretraining, base: Path) -> HeadConfig:
    """Derive the sizes of a projection head from its weights."""
    matrices = [value for value in pretraining.head.values() if value.ndim == 2]
    if not matrices:
        raise InputError("its projection head has no layers", path=base)
    return HeadConfig(
        hidden_dim=matrices[0].shape[0] if len(matrices) > 1 else HeadConfig().hidden_dim,
        num_hidden=len(matrices) - 1,
        projection_dim=matrices[-1].shape[0],
        batch_norm=any(key.endswith("running_mean") for key in pretraining.head),
    )


#: Hint for damaged files of an adaptation.
_DAMAGED = "remove the folder to start anew"


def _settle(work: Path, config: AdaptConfig, sources: Sources) -> None:
    """Create the work folder of this adaptation, or check that it can be resumed.

    This is what decides the data. The settings of the training are checked against its checkpoints, and those
    of blend and verdict, which come last, may change.
    """
    identity = {
        "segments": to_dict(config.segments),
        "mixture.held_out": config.mixture.held_out,
        "training.seed": config.training.seed,
        "model": file_sha256(sources.base / "model.safetensors"),
        "recordings": sorted(utterance.id for utterance in sources.recordings),
        "rehearse": None if sources.rehearse is None else str(sources.rehearse.resolve()),
    }
    file = work / "settings.json"
    if not file.is_file():
        atomic_write_text(file, json.dumps(identity, indent=2) + "\n")
        return
    earlier = read_json(file, "adaptation settings file", hint=_DAMAGED)
    different = [key for key, value in identity.items() if earlier.get(key) != value]
    if different:
        raise InputError(
            f"belongs to another adaptation: different {', '.join(different)}",
            path=work,
            hint="resume with the original command, use another --work, or remove the folder",
        )


def _prepare(config: AdaptConfig, sources: Sources, work: Path, on_work: Report) -> dict[str, Any]:
    """Write the data directories of an adaptation, unless an earlier call has; return their figures."""
    file = work / "data.json"
    if file.is_file():
        return read_json(file, "adaptation data summary", hint=_DAMAGED)
    found = []
    are_segments = all(recording.end_s is not None for recording in sources.recordings)
    stage = "writing segments" if are_segments else "detecting speech"
    searched = find_segments(sources.recordings, config.segments, notes=work / "speech.jsonl")
    for done, segments in enumerate(searched, start=1):
        found.append(segments)
        on_work(stage, done, len(sources.recordings))
    trained, held = _hold_out([segments for segments in found if segments], config)
    silent = {
        recording.path for recording, segments in zip(sources.recordings, found, strict=True) if not segments
    } - {segments[0].path for segments in found if segments}
    write_segments(work / "target", trained)
    write_segments(work / "target_held_out", held)
    figures = {
        "recordings": len({recording.path for recording in sources.recordings}),
        "recordings_without_speech": len(silent),
        "segments": len(trained),
        "trained_s": round(_duration_s(trained), 1),
        "held_out_s": round(_duration_s(held), 1),
        "rehearsed_utterances": 0,
    }
    if sources.rehearse is not None:
        old = [replace(utterance, speaker=None) for utterance in read_data_dir(sources.rehearse)]
        order = np.random.default_rng(config.training.seed).permutation(len(old))
        num_held = min(_MOST_HELD_OUT, round(config.mixture.held_out * len(old)))
        if not 0 < num_held < len(old):
            raise InputError(f"{len(old)} utterances are too few for rehearsal", path=sources.rehearse)
        write_segments(work / "old_held_out", [old[index] for index in order[:num_held]])
        write_segments(work / "old", [old[index] for index in order[num_held:]])
        figures["rehearsed_utterances"] = len(old) - num_held
    atomic_write_text(file, json.dumps(figures, indent=2) + "\n")
    return figures


def _hold_out(
    recordings: Sequence[Sequence[Utterance]], config: AdaptConfig
) -> tuple[list[Utterance], list[Utterance]]:
    """Divide speech into training and held-out data, by recordings or, if these are few, by scenes."""
    units: dict[tuple[Path, int], list[Utterance]] = {}
    paths = {segments[0].path for segments in recordings}
    for segments in recordings:
        for segment in segments:
            scene = int(segment.start_s // SCENE_S) if len(paths) < _FEW_RECORDINGS else 0
            units.setdefault((segment.path, scene), []).append(segment)
    if len(units) < 2:
        raise InputError(
            f"found less than {SCENE_S:.0f} s of speech in {len(paths)} recordings, which is too little",
            hint="give more recordings",
        )
    in_order = list(units.values())
    wanted_s = config.mixture.held_out * _duration_s([segment for unit in in_order for segment in unit])
    trained: list[Utterance] = []
    held: list[Utterance] = []
    for index in np.random.default_rng(config.training.seed).permutation(len(in_order)):
        (held if _duration_s(held) < wanted_s else trained).extend(in_order[index])
    if not trained:
        raise InputError(
            "no speech is left for training", hint="lower mixture.held_out, or give more recordings"
        )
    return trained, held


def _duration_s(segments: Sequence[Utterance]) -> float:
    return sum((segment.end_s or 0.0) - segment.start_s for segment in segments)
