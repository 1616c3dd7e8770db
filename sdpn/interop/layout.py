"""Mapping of the weight names of published networks to those of sdpn.

A layout is a table of key prefixes, sdpn's on the left. ``{i}`` stands for a number, ``{i1}`` and ``{i2}`` on
the right for one and two more. If several of our weights have a single counterpart, it is their concatenation
along the second axis.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sdpn.errors import InputError
from sdpn.io.parsing import parsing
from sdpn.models.encoder import Encoder
from sdpn.models.registry import AnyEncoderConfig, build_encoder
from sdpn.models.weights import check_weights

#: The key of a weight and the axis from which a size is read.
Witness = tuple[str, int]


class Shapes:
    """Infers the sizes of a network from the shapes of its weights.

    A size is inferred from several weights by majority, so that a missing or mis-shaped weight is reported as
    such instead of changing the expected shapes of all others.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._shapes = {key: tuple(value.shape) for key, value in weights.items()}

    def size(self, *witnesses: Witness, default: int) -> int:
        """The most frequent size; the published ``default`` if none of the weights exists."""
        seen = [self._shapes[key][axis] for key, axis in witnesses if axis < len(self._shapes.get(key, ()))]
        return Counter(seen).most_common(1)[0][0] if seen else default

    def count(self, template: str) -> int:
        """Number of different values of ``{}`` among the keys that begin like ``template``."""
        pattern = re.compile(re.escape(template).replace(r"\{\}", r"(\d+)"))
        return len({match[1] for key in self._shapes if (match := pattern.match(key))})

    def has(self, prefix: str) -> bool:
        """Whether some key begins with ``prefix``."""
        return any(key.startswith(prefix) for key in self._shapes)


@dataclass(frozen=True)
class Layout:
    """The file layout of a published network.

    Attributes:
        network: name of the network, for messages.
        signs: key prefixes that together identify the network.
        rules: (our prefix, theirs); the first match is used.
        configure: infers the configuration from the shapes.
        num_features: infers the number of features per frame.
        finish: final changes to the renamed weights, for networks with another channel order.
    """

    network: str
    signs: tuple[str, ...]
    rules: tuple[tuple[str, str], ...]
    configure: Callable[[Shapes], AnyEncoderConfig]
    num_features: Callable[[Shapes], int]
    finish: Callable[[dict[str, Tensor], AnyEncoderConfig], None] | None = None

    def build(
        self, weights: dict[str, Tensor], config: AnyEncoderConfig, num_features: int, path: Path
    ) -> Encoder:
        """Build the network and load its weights.

        Raises:
            InputError: the sizes are inconsistent, or keys are missing, unexpected or mis-shaped.
        """
        with parsing(path, f"does not contain a valid {self.network}"):
            encoder = build_encoder(config, num_features)
        filled = renamed(encoder.state_dict(), weights, self.rules, path, network=self.network)
        if self.finish is not None:
            self.finish(filled, config)
        encoder.load_state_dict(filled)
        return encoder.eval()


def renamed(
    ours: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    rules: Iterable[tuple[str, str]],
    path: Path,
    *,
    network: str,
) -> dict[str, Tensor]:
    """The weights of a published network under our names.

    Args:
        ours: the state dict of our network, for its names, shapes and types.
        weights: those of the file.
        rules: (our prefix, theirs); the first match is used.
        path: the file.
        network: name of the network, for messages.

    Raises:
        InputError: keys are missing, unexpected or mis-shaped.
    """
    rules = tuple(rules)
    of_theirs: dict[str, list[str]] = defaultdict(list)
    for key in ours:
        of_theirs[_translate(key, rules)].append(key)
    wanted = {theirs: _side_by_side([ours[key] for key in keys]) for theirs, keys in of_theirs.items()}
    check_weights(wanted, weights, path, against=f"the layout of {network}")
    filled: dict[str, Tensor] = {}
    for theirs, keys in of_theirs.items():
        parts = weights[theirs].reshape(tuple(wanted[theirs]))
        widths = [ours[key].shape[1] for key in keys] if len(keys) > 1 else None
        for key, part in zip(keys, [parts] if widths is None else parts.split(widths, 1), strict=True):
            filled[key] = part.reshape(ours[key].shape).to(ours[key].dtype)
    return filled


def find_layout(
    layouts: Iterable[Layout], weights: dict[str, Tensor], path: Path, *, format_name: str
) -> Layout:
    """Find the layout that matches the keys.

    Raises:
        InputError: none of the layouts matches.
    """
    layouts = tuple(layouts)
    shapes = Shapes(weights)
    for layout in layouts:
        if all(shapes.has(sign) for sign in layout.signs):
            return layout
    some = ", ".join(list(weights)[:3]) or "none"
    raise InputError(
        f"its keys ({some}, ...) match no supported network of format {format_name}",
        path=path,
        hint=f"supported: {', '.join(layout.network for layout in layouts)}",
    )


def _side_by_side(tensors: list[Tensor]) -> torch.Size:
    """Shape of the concatenation of tensors along the second axis."""
    if len(tensors) == 1:
        return tensors[0].shape
    return torch.Size([tensors[0].shape[0], sum(tensor.shape[1] for tensor in tensors)])


def _translate(key: str, rules: Iterable[tuple[str, str]]) -> str:
    for ours, theirs in rules:
        pattern = re.sub(r"\\\{(\w)\\\}", r"(?P<\1>\\d+)", re.escape(ours))
        if (match := re.match(pattern, key)) is not None:
            numbers: dict[str, int] = {}
            for name, text in match.groupdict().items():
                numbers |= {name: int(text), f"{name}1": int(text) + 1, f"{name}2": int(text) + 2}
            return theirs.format(**numbers) + key[match.end() :]
    raise AssertionError(f"no rule for {key}")
