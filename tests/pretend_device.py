"""A device that is not there: what breaks on a GPU alone breaks here, on the CPU.

Inside `pretend_device`, torch seems to have a GPU. Tensors that code moves to it stay on the CPU and are
remembered as being elsewhere, with everything that is computed from them, until ``.cpu()`` brings them back.
As on a GPU,

- ``.numpy()`` and ``__array__`` (so ``np.asarray``, and NumPy's functions) refuse them,
- an operation refuses tensors of both places, unless those of the CPU are single numbers.

What makes the host wait for a GPU is counted (`PretendDevice.waits`).
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_flatten, tree_map_only

_CPU = torch.device("cpu")
#: Tensors of two places may meet in these.
_MEETINGS = {"copy_", "set_", "data.__set__", "type_as", "to", "_has_compatible_shallow_copy_type"}
#: Every one of these makes the host wait until the device has computed what it is asked for.
_WAITS = {
    *("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "__complex__", "__contains__"),
    *("is_nonzero", "nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount"),
    *("equal", "allclose", "__format__", "__repr__"),
}
_INDEXING = {"__getitem__", "__setitem__", "index_put_"}
#: What is made of plain values is copied to the device at once.
_FROM_VALUES = {"tensor", "as_tensor", "asarray"}


class PretendDevice(TorchFunctionMode):
    """Keeps the books on which tensors are on the device.

    Attributes:
        device: value of their ``device``.
        waits: how often the host would have waited, by the name of the function.
    """

    device = torch.device("cuda", 0)

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        # Storages rather than tensors: views, parameters and their data share them. A weak reference keeps
        # the address from being given to another one.
        self._storages: dict[int, StorageWeakRef] = {}

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Count the waits inside the block."""
        before = self.waits
        self.waits = Counter()
        try:
            yield self.waits
        finally:
            self.waits = before + self.waits

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is on the device."""
        return tensor.untyped_storage()._cdata in self._storages

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run ``func`` on the CPU, as if some of its tensors were not there."""
        kwargs = dict(kwargs or {})
        name = _name(func)
        given = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
        held = [tensor for tensor in given if self.holds(tensor)]
        if name in ("device", "_parse_to"):  # these only ask what their arguments mean
            return func(*args, **kwargs)
        if name == "device.__get__":
            return self.device if held else func(*args, **kwargs)
        if name in ("is_cuda.__get__", "is_cpu.__get__"):
            return bool(held) == (name == "is_cuda.__get__")
        if held:
            self._refuse(name, args, given)
            self._count(name, args, held)
        if name in ("cpu", "cuda", "to"):
            return self._moved(func, name, args, kwargs)
        wanted, args, kwargs = self._without_device(args, kwargs)
        results = func(*args, **kwargs)
        if name in _FROM_VALUES and wanted == self.device.type:
            self.waits[name] += 1
        placed = (
            wanted == self.device.type if wanted else bool(held) and name not in ("data.__set__", "copy_")
        )
        if name == "type_as":
            placed = self.holds(args[1])
        if placed:
            tree_map_only(torch.Tensor, lambda tensor: self._place(tensor), results)
        return results

    def _refuse(self, name: str, args: Any, given: list[torch.Tensor]) -> None:
        if name in ("numpy", "__array__"):
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first"
            )
        if name in _MEETINGS:
            return
        if name in _INDEXING and self.holds(args[0]):
            return  # indices may be on the CPU, and so may a value of one number
        if any(tensor.dim() for tensor in given if not self.holds(tensor)):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{self.device} and cpu! (in {name})"
            )

    def _count(self, name: str, args: Any, held: list[torch.Tensor]) -> None:
        """Count what makes the host wait: it has to learn a value, or a size that depends on values."""
        indexes = tree_flatten(args[1])[0] if name in _INDEXING else []
        tensors = [index for index in indexes if isinstance(index, torch.Tensor)]
        masks = any(index.dtype in (torch.bool, torch.uint8) for index in tensors)
        copies = any(index.dim() and not self.holds(index) for index in tensors)  # to the device, at once
        repeats = name == "repeat_interleave" and len(held) > 1
        if name in _WAITS or masks or copies or repeats:
            self.waits[name] += 1

    def _moved(self, func: Callable[..., Any], name: str, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        tensor: torch.Tensor = args[0]
        if name == "to" and len(args) > 1 and isinstance(args[1], torch.Tensor):  # as another tensor is
            args = (tensor, self.device if self.holds(args[1]) else _CPU, args[1].dtype, *args[2:])
        elif name != "to":
            func, args = torch.Tensor.to, (tensor, _CPU if name == "cpu" else self.device, *args[1:])
        wanted, args, kwargs = self._without_device(args, kwargs)
        was = self.device.type if self.holds(tensor) else "cpu"
        there = wanted or was
        result: torch.Tensor = func(*args, **kwargs)
        if there != was:
            if there == "cpu" or not kwargs.get("non_blocking"):
                self.waits[name] += 1
            if result.untyped_storage()._cdata == tensor.untyped_storage()._cdata:
                result = result.clone()
        if there != "cpu":
            self._place(result)
        return result

    def _without_device(self, args: Any, kwargs: dict[str, Any]) -> tuple[str | None, Any, dict[str, Any]]:
        """The device that is asked for, by type, and the arguments with the CPU in its place."""
        wanted: list[str] = []

        def replaced(value: Any) -> Any:
            if isinstance(value, torch.device):
                wanted.append(value.type)
                return _CPU
            if isinstance(value, str) and value.split(":")[0] in ("cuda", "cpu"):
                wanted.append(value.split(":")[0])
                return "cpu"
            return value

        args = tuple(replaced(value) for value in args)
        kwargs = {key: replaced(value) if key == "device" else value for key, value in kwargs.items()}
        return (wanted[0] if wanted else None), args, kwargs

    def _place(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._storages:
            if len(self._storages) % 10_000 == 9_999:
                self._storages = {key: ref for key, ref in self._storages.items() if not ref.expired()}
            self._storages[storage._cdata] = StorageWeakRef(storage)


@contextlib.contextmanager
def pretend_device() -> Iterator[PretendDevice]:
    """Let torch seem to have a GPU inside the block."""
    scaler, autocast = torch.amp.GradScaler.__init__, torch.autocast.__init__

    def on_cpu(init: Callable[..., None]) -> Callable[..., None]:
        def wrapped(self: Any, device: str = "cpu", *args: Any, **kwargs: Any) -> None:
            init(self, device.replace("cuda", "cpu"), *args, **kwargs)

        return wrapped

    with contextlib.ExitStack() as stack:
        for name, value in {
            "is_available": lambda: True,
            "set_device": lambda _device: None,
            "device_count": lambda: 1,
            "is_bf16_supported": lambda *_, **__: True,
            "is_current_stream_capturing": lambda: False,
            "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
            "set_rng_state": lambda *_: None,
        }.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch.amp.GradScaler, "__init__", on_cpu(scaler)))
        stack.enter_context(mock.patch.object(torch.autocast, "__init__", on_cpu(autocast)))
        pretended = stack.enter_context(PretendDevice())
        run = threading.Thread.run

        def run_pretending(thread: threading.Thread) -> None:
            with pretended:  # a mode is of one thread
                run(thread)

        stack.enter_context(mock.patch.object(threading.Thread, "run", run_pretending))
        yield pretended


class RealDevice:
    """A GPU, with the same face."""

    device = torch.device("cuda", 0)

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Count the waits inside the block, as torch's debug mode finds them."""
        waits: Counter[str] = Counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield waits
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits["synchronise"] = sum("synchronizing CUDA operation" in str(one.message) for one in caught)


def _name(func: Callable[..., Any]) -> str:
    """``item`` of ``torch.Tensor.item``, ``device.__get__`` of a property."""
    full = resolve_name(func) or getattr(func, "__qualname__", "")
    parts = full.split(".")
    return ".".join(parts[-2:]) if parts[-1] in ("__get__", "__set__") else parts[-1]
