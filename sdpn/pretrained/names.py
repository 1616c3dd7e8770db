"""Models by name: those in the package, in installed wheels, and in the user's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdpn.errors import InputError
from sdpn.pretrained.home import find_home_model, home_models
from sdpn.pretrained.included import ABOUT, ABOUT_SEGMENTATION, INCLUDED, SEGMENTATION, included_path
from sdpn.pretrained.wheels import WHEEL_MODELS


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """A model that has a name.

    Attributes:
        name: what ``--model`` takes.
        kind: ``embedding`` or ``segmentation``; None where that is not known before it is read.
        path: where it is; None if it is not there yet.
        source: ``included``, the wheel, or where it is from.
        about: what it is, or how to get it.
        format: of `sdpn.load_model`; None detects it.
    """

    name: str
    kind: str | None
    path: Path | None
    source: str
    about: str
    format: str | None = None


def available_models() -> list[NamedModel]:
    """Every model that has a name, also those in wheels that are not installed.

    No network is asked, and no file of the user's folder is read but its records.

    Raises:
        InputError: a wheel's file or a record is damaged.
    """
    names = [*INCLUDED, SEGMENTATION, *WHEEL_MODELS, *(model.name for model in home_models())]
    found = (named_model(name) for name in dict.fromkeys(names))
    return [model for model in found if model is not None]


def named_model(name: str) -> NamedModel | None:
    """A model by its name; None if nothing has it.

    Raises:
        InputError: it is there, and damaged.
    """
    if name in INCLUDED:
        return NamedModel(
            name=name,
            kind="embedding",
            path=included_path(name),
            source="included",
            about=ABOUT[name],
            format="sdpn",
        )
    if name == SEGMENTATION:
        return NamedModel(
            name=name,
            kind="segmentation",
            path=included_path(name),
            source="included",
            about=ABOUT_SEGMENTATION,
        )
    if (wheel := WHEEL_MODELS.get(name)) is not None:
        path = wheel.find()
        return NamedModel(
            name=name,
            kind=wheel.kind,
            path=path,
            source=wheel.wheel,
            about=wheel.about if path is not None else f"{wheel.about}; {wheel.install}",
            format=wheel.format,
        )
    if (own := find_home_model(name)) is not None:
        own.check()
        return NamedModel(name=name, kind=None, path=own.path, source=own.source or str(own.folder), about="")
    return None


def named_path(name: str, kind: str) -> Path | None:
    """Where a named model of a kind is.

    Args:
        name: perhaps a name; None is returned for anything else, such as a path.
        kind: ``embedding`` or ``segmentation``.

    Raises:
        InputError: it is of another kind, or damaged.
    """
    model = named_model(name)
    if model is None or model.path is None:
        return None
    if model.kind not in (None, kind):
        article = "an" if model.kind == "embedding" else "a"
        raise InputError(
            f"{name} is {article} {model.kind} model, and one for {kind} is needed",
            hint=f"list them with 'sdpn models --available'; ./{name} is a file or folder of that name",
        )
    return model.path


def how_to_get(name: str) -> str | None:
    """What to do to have a model that has a name and is not there; None if no such model is known."""
    wheel = WHEEL_MODELS.get(name)
    return None if wheel is None else f"{name} is in the wheel {wheel.wheel}: {wheel.install}"


def refuse_missing(path: Path) -> None:
    """Check that there is a model at a path.

    Raises:
        InputError: there is none; the message has the names of models.
    """
    if not path.exists():
        raise InputError(
            "no such model folder or file",
            path=path,
            hint=how_to_get(str(path))
            or "expected a folder written by sdpn train, EXP/model, a model of another toolkit, or the "
            f"name of an included one: {', '.join(INCLUDED)}; 'sdpn models --available' lists all names",
        )


def format_at(path: Path) -> str | None:
    """The format of a model of an installed wheel, which its path tells; None for any other path."""
    for model in WHEEL_MODELS.values():
        if path.parts[-len(Path(model.file).parts) :] == Path(model.file).parts:
            return model.format
    return None
