"""Weight files: loaded without executing code, and checked against a network."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from sdpn.errors import InputError
from sdpn.io.parsing import parsing

#: Maximum number of mismatches in a message; a wrong file has hundreds.
_FAULTS_SHOWN = 20


def read_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a safetensors or torch file without executing code.

    torch's restricted unpickler builds tensors, containers and numbers. numpy's scalars, which 3D-Speaker
    stores beside its weights, are data as well and are allowed by name. So are the three classes that say
    what a network of pyannote.audio was trained for: a `PlainObject` takes their place. Everything else is
    rejected.

    Raises:
        InputError: the file is missing, damaged, refers to code, or is not a dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such weight file", path=path)
    if path.suffix == ".safetensors":
        with parsing(path, "is damaged or not a safetensors file", hint="copy it again"):
            return dict(load_file(path))
    with parsing(path, "is damaged or not a torch file", hint="copy it again"):
        try:
            with torch.serialization.safe_globals([*numpy_scalars(), *_plain_objects()]):
                contents = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            refused = re.search(r"GLOBAL ([\w.]+)", str(error))
            if refused is None:  # torch's own message advises loading it anyway
                raise InputError("is damaged or not a torch file", path=path, hint="copy it again") from error
            raise InputError(
                f"refers to code, '{refused[1]}', and was rejected; nothing was executed",
                path=path,
                hint="weight files need none: download it from its publisher, or save only the state dict",
            ) from error
    if not isinstance(contents, dict):
        raise InputError(f"contains {type(contents).__name__}, not a dictionary of weights", path=path)
    return contents


def check_weights(
    wanted: Mapping[str, Sequence[int]], found: Mapping[str, Tensor], path: Path, *, against: str
) -> None:
    """Compare keys and shapes; trailing axes of length 1 are ignored.

    Raises:
        InputError: keys are missing, unexpected or of another shape; the message lists them.
    """
    faults = [f"missing {key}" for key in sorted(wanted.keys() - found.keys())]
    faults += [f"unexpected {key}" for key in sorted(found.keys() - wanted.keys())]
    faults += [
        f"{key} has shape {tuple(found[key].shape)}, not {tuple(wanted[key])}"
        for key in sorted(wanted.keys() & found.keys())
        if _core(found[key].shape) != _core(wanted[key])
    ]
    if faults:
        more = f"; and {len(faults) - _FAULTS_SHOWN} more" if len(faults) > _FAULTS_SHOWN else ""
        raise InputError(f"does not match {against}: {'; '.join(faults[:_FAULTS_SHOWN])}{more}", path=path)


def _core(shape: Sequence[int]) -> tuple[int, ...]:
    sizes = list(shape)
    while sizes and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def numpy_scalars() -> list[Any]:
    """The globals of a pickled numpy number: ``scalar``, under its old and new name, and types.

    3D-Speaker's schedules leave such numbers in its checkpoints. For `torch.serialization.safe_globals`.
    """
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}
    return [*((scalar, name) for name in names), np.dtype, *kinds]


class PlainObject:
    """An object of a class that is not imported: its arguments and its attributes."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments


def _plain_objects() -> list[Any]:
    """Stand-ins for the classes in checkpoints of pyannote.audio, and torch's version, which is text.

    Every name has a class of its own, since `torch.serialization.safe_globals` finds them by their class.
    """
    names = (f"pyannote.audio.core.task.{name}" for name in ("Specifications", "Problem", "Resolution"))
    return [*((type("Plain", (PlainObject,), {}), name) for name in names), TorchVersion]


def weights_digest(network: nn.Module) -> str | None:
    """Digest of the weights of a network, which identifies it for back ends trained with it.

    Computed in 16 bits, so that a model folder stored in half precision (`sdpn.models.folder.save_model`) has
    the same.

    Returns:
        16 hexadecimal digits; None if the weights are not accessible, as in an ONNX graph.
    """
    digest = hashlib.sha256()
    numbers = {key: value for key, value in network.state_dict().items() if value.is_floating_point()}
    for key, value in numbers.items():
        digest.update(f"{key} {tuple(value.shape)}\n".encode())
        digest.update(value.half().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16] if numbers else None


def fingerprint(network: nn.Module, settings: object) -> str:
    """Hash of the weights of a network, with all their bits, and of settings such as those of its features.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(repr(settings).encode())
    for key, value in network.state_dict().items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
