"""A model on disk: a file or a folder, read once, on demand."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from sdpn.errors import InputError
from sdpn.models.weights import read_weights


class ModelSource:
    """A file of weights, or a folder with one.

    Attributes:
        path: path given by the user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def contents(self) -> dict[str, Any]:
        """Contents of the file.

        Raises:
            InputError: it cannot be read, or refers to code.
        """
        return read_weights(self.path)

    def holds(self, *prefixes: str) -> bool:
        """Whether every prefix occurs among the keys."""
        keys = [key.removeprefix("module.") for key in self.contents]
        return all(any(key.startswith(prefix) for key in keys) for prefix in prefixes)

    def weights_of_folder(self, weights: str, settings: str, *, toolkit: str) -> ModelSource:
        """The weight file in a toolkit's folder; a given file is returned itself.

        Raises:
            InputError: the folder has no such file, or no settings beside it.
        """
        if not self.path.is_dir():
            return self
        for name in (weights, settings):
            if not (self.path / name).is_file():
                raise InputError(f"the {toolkit} folder is incomplete: it has no {name}", path=self.path)
        return ModelSource(self.path / weights)

    def tensors(self, contents: dict[str, Any] | None = None) -> dict[str, Tensor]:
        """The state dict in ``contents`` (default: the whole file), without the prefix that DDP adds.

        Raises:
            InputError: something in it is not a tensor.
        """
        contents = self.contents if contents is None else contents
        others = [str(key) for key, value in contents.items() if not isinstance(value, Tensor)]
        if others:
            raise InputError(
                f"is not a state dict: {', '.join(others[:5])} "
                f"{'is not a' if len(others) == 1 else 'are not'} "
                f"tensor{'' if len(others) == 1 else 's'}",
                path=self.path,
                hint="expected the weights of an encoder at the top level",
            )
        return {key.removeprefix("module."): value for key, value in contents.items()}
