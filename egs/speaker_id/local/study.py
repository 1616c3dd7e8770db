"""What makes runs comparable, stored once: settings, rungs, data, and the steps that fit into equal time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdpn.cli.script import commit_of, machine_kind
from sdpn.config import to_dict
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.json_text import read_json
from sdpn.training.config import RunConfig

#: File below OUT.
STUDY = "study.json"


@dataclass(frozen=True)
class Settings:
    """What a study is of.

    Attributes:
        data: SHA-256 of the lists of its features.
        folds: number of folds.
        seconds: CPU time of the training steps of a run on a fold.
        tune_seconds: the same for each learning rate that is tried.
        rates: learning rates to choose from.
    """

    data: str
    folds: int
    seconds: float
    tune_seconds: float
    rates: tuple[float, ...]


def open_study(
    out: Path,
    settings: Settings,
    configs: Mapping[str, RunConfig],
    measure: Callable[[Mapping[str, RunConfig]], dict[str, float]],
) -> dict[str, float]:
    """Begin a study, or check that what is in the folder is this one; rungs may be added to it.

    The time of a step never changes once it is stored. Rungs that are added are measured beside the first of
    the others, and take its ratio: the machine may be busier now.

    Args:
        out: its folder.
        settings: of the study.
        configs: of the rungs, by name.
        measure: measures the CPU seconds of a step of each.

    Returns:
        CPU seconds of a step of each rung.

    Raises:
        InputError: the folder holds another study, or its file is damaged.
    """
    file = out / STUDY
    own = json.loads(json.dumps(asdict(settings)))
    digests = {name: _digest(config) for name, config in configs.items()}
    known: dict[str, Any] = {}
    document: dict[str, Any] = {
        "settings": own,
        "commit": commit_of(__file__),
        "machine": machine_kind(),
        "rungs": known,
    }
    if file.is_file():
        document = read_json(file, "study")
        known = _checked(document, file, own, digests)
    elif (out / "runs").is_dir():
        raise InputError(f"has runs but no {STUDY}", path=out, hint="give another --out")
    missing = [name for name in configs if name not in known]
    if missing:
        first = next((name for name in configs if name in known), None)
        taken = measure({name: configs[name] for name in ([] if first is None else [first]) + missing})
        ratio = 1.0 if first is None else float(known[first]["step_s"]) / taken[first]
        known |= {name: {"config": digests[name], "step_s": ratio * taken[name]} for name in missing}
        out.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(document | {"rungs": known}, indent=1) + "\n")
    return {name: float(known[name]["step_s"]) for name in configs}


def read_study(out: Path) -> dict[str, Any]:
    """The document of a study.

    Raises:
        InputError: it is missing or damaged.
    """
    document = read_json(out / STUDY, "study")
    _checked(document, out / STUDY, document.get("settings"), {})
    return document


def _checked(document: Any, file: Path, settings: Any, digests: Mapping[str, str]) -> dict[str, Any]:
    """The rungs of a study.

    Raises:
        InputError: it is damaged, or another one.
    """
    found, rungs = document.get("settings"), document.get("rungs")
    whole = isinstance(found, dict) and isinstance(rungs, dict)
    if not whole or not all(
        isinstance(rung, dict)
        and isinstance(rung.get("config"), str)
        and isinstance(rung.get("step_s"), float)
        and rung["step_s"] > 0
        for rung in rungs.values()
    ):
        raise InputError("is not the study that ladder.py wrote", path=file)
    changed = [
        f"{key} was {found.get(key)}, is {now}" for key, now in settings.items() if found.get(key) != now
    ]
    for name, digest in digests.items():
        if name in rungs and rungs[name]["config"] != digest:
            changed.append(f"rung {name} has other settings")
    if changed:
        raise InputError(f"is of another study: {'; '.join(changed)}", path=file, hint="give another --out")
    return rungs


def _digest(config: RunConfig) -> str:
    text = json.dumps(to_dict(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of(files: Sequence[Path]) -> str:
    """SHA-256 of the bytes of some files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
