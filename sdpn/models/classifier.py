"""The classifier of a model that was trained with labels: class names, and logits of embeddings.

Its weights are the prototypes in ``pretraining.safetensors``; ``classes.json`` beside it has the rest.

Shapes: B batch, D embedding, E projection, K classes, C sub-centres.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sdpn.errors import InputError
from sdpn.io.json_text import float32_numbers, read_json
from sdpn.models.pretraining import read_pretraining

#: File of a model folder.
CLASSES = "classes.json"


@dataclass(frozen=True)
class Classes:
    """What a classifier is beside its weights.

    Attributes:
        names: of the K classes, in the order of the logits.
        head: ``linear``, ``mlp``, ``am`` or ``aam`` (`sdpn.distill.supervised.SupervisedConfig`).
        scale: of cosines; 1 for ``linear`` and ``mlp``.
        sub_centres: centres C of each class.
        bias_K: added to the logits of ``linear`` and ``mlp``; None for cosines.
    """

    names: tuple[str, ...]
    head: str
    scale: float = 1.0
    sub_centres: int = 1
    bias_K: Tensor | None = None

    def document(self) -> dict[str, Any]:
        """As plain values for JSON."""
        bias = None if self.bias_K is None else float32_numbers(self.bias_K.cpu().tolist())
        return {
            "format": 1,
            "head": self.head,
            "scale": self.scale,
            "sub_centres": self.sub_centres,
            "classes": list(self.names),
            "bias": bias,
        }


def hidden_layer(embedding_dim: int, hidden: int) -> nn.Sequential:
    """The hidden layer of an ``mlp`` head: linear, then ReLU; (B, D) to (B, hidden)."""
    return nn.Sequential(nn.Linear(embedding_dim, hidden), nn.ReLU())


def centre_cosines(projection_NE: Tensor, centres_KE: Tensor) -> Tensor:
    """Cosine of each row (…, E) to each centre (K · C, E), (…, K · C)."""
    return normalize(projection_NE, dim=-1) @ normalize(centres_KE, dim=-1).to(projection_NE.dtype).T


def nearest_centres(cosine_NJ: Tensor, sub_centres: int) -> Tensor:
    """Of each class, the cosine to its nearest centre: (…, K · C) to (…, K).

    Source: Deng et al., Sub-center ArcFace, ECCV 2020, section 3.2.
    """
    return cosine_NJ if sub_centres == 1 else cosine_NJ.unflatten(-1, (-1, sub_centres)).amax(-1)


def class_logits(projection_NE: Tensor, weight_JE: Tensor, classes: Classes) -> Tensor:
    """Logits (…, K) without any margin.

    Args:
        projection_NE: embeddings, or for ``mlp`` what the hidden layer makes of them, (…, E).
        weight_JE: weights (K, E) of a linear layer, or centres (K · C, E).
        classes: the classifier.
    """
    if classes.head in ("linear", "mlp"):
        logits_NK = projection_NE @ weight_JE.to(projection_NE.dtype).T
        return logits_NK if classes.bias_K is None else logits_NK + classes.bias_K
    return classes.scale * nearest_centres(centre_cosines(projection_NE, weight_JE), classes.sub_centres)


class Classifier:
    """Embeddings to classes, as read from a model folder.

    Args:
        classes: names and kind.
        weight_JE: see `class_logits`.
        hidden: the hidden layer of ``mlp``; None for the others.
    """

    def __init__(self, classes: Classes, weight_JE: Tensor, hidden: nn.Module | None = None) -> None:
        self.classes = classes
        self.weight_JE = weight_JE
        self._hidden = hidden

    @torch.no_grad()
    def logits(self, embedding_BD: Tensor) -> Tensor:
        """Logits (B, K) of embeddings (B, D)."""
        projection_BE = embedding_BD if self._hidden is None else self._hidden(embedding_BD)
        return class_logits(projection_BE, self.weight_JE, self.classes)

    def names_of(self, logits_BK: Tensor) -> list[str]:
        """The name of the likeliest class of each row."""
        return [self.classes.names[index] for index in logits_BK.argmax(-1).tolist()]


def write_classes(folder: Path, classes: Classes) -> None:
    """Write ``classes.json`` into a model folder that is being written."""
    text = json.dumps(classes.document(), ensure_ascii=False, indent=1)
    (folder / CLASSES).write_text(f"{text}\n", encoding="utf-8")


def read_classifier(path: str | os.PathLike[str]) -> Classifier:
    """Read the classifier of a model folder.

    Raises:
        InputError: the model has none, since it was not trained with labels, or a file is damaged.
    """
    file = Path(path) / CLASSES
    if not file.is_file():
        raise InputError(
            f"the model has no classes: there is no {CLASSES}",
            path=path,
            hint="give a folder written by sdpn train --objective supervised",
        )
    document = read_json(file, "list of classes")
    classes = _classes(document, file)
    pretraining = read_pretraining(path)
    wanted = len(classes.names) * classes.sub_centres
    if len(pretraining.prototypes) != wanted:
        raise InputError(
            f"names {len(classes.names)} classes; the weights beside it are of "
            f"{len(pretraining.prototypes) // classes.sub_centres}",
            path=file,
            hint="copy the whole folder again",
        )
    hidden = None
    if classes.head == "mlp":
        weight = pretraining.head.get("0.weight")
        if weight is None or weight.ndim != 2:
            raise InputError("has no hidden layer for its classes", path=path, hint="copy the folder again")
        hidden = hidden_layer(weight.shape[1], weight.shape[0])
        hidden.load_state_dict(pretraining.head)
    return Classifier(classes, pretraining.prototypes, hidden)


def _classes(document: dict[str, Any], file: Path) -> Classes:
    names, bias = document.get("classes"), document.get("bias")
    scale, centres, head = document.get("scale"), document.get("sub_centres"), document.get("head")
    if (
        document.get("format") != 1
        or not _is_list(names, str)
        or len(set(names or ())) != len(names or ())
        or head not in ("linear", "mlp", "am", "aam")
        or not isinstance(scale, (int, float))
        or not isinstance(centres, int)
        or centres < 1
        or not (bias is None or (_is_list(bias, (int, float)) and len(bias) == len(names or ())))
    ):
        raise InputError("is not a list of classes of format 1", path=file)
    assert names is not None
    bias_K = None if bias is None else torch.tensor(bias)
    return Classes(tuple(names), str(head), float(scale), centres, bias_K)


def _is_list(value: Any, kind: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(one, kind) for one in value)
