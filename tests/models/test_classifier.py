"""The classifier of a model folder: what was saved is read, and what is damaged is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.models.classifier import CLASSES, Classes, class_logits, hidden_layer, read_classifier
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.pretraining import Pretraining
from sdpn.models.transformer import Transformer, TransformerConfig


def _save(path: Path, classes: Classes, weight: torch.Tensor, head: dict[str, torch.Tensor]) -> None:
    config = TransformerConfig(width=8, feed_forward=8)
    model = ModelFolder(Transformer(config, 80), config, FeatureConfig())
    save_model(path, model, pretraining=Pretraining(head, weight), classes=classes)


@pytest.mark.parametrize("head", ["linear", "mlp", "am", "aam"])
def test_logits_come_back(tmp_path: Path, head: str) -> None:
    torch.manual_seed(0)
    cosine = head in ("am", "aam")
    bias = None if cosine else torch.randn(3)
    classes = Classes(("ä b", "b", "c"), head, 20.0 if cosine else 1.0, 2 if cosine else 1, bias)
    hidden = hidden_layer(8, 5) if head == "mlp" else None
    weight = torch.randn(6 if cosine else 3, 5 if head == "mlp" else 8)
    _save(tmp_path / "model", classes, weight, {} if hidden is None else hidden.state_dict())
    embedding = torch.randn(4, 8)
    with torch.no_grad():
        expected = class_logits(embedding if hidden is None else hidden(embedding), weight, classes)
    classifier = read_classifier(tmp_path / "model")
    assert torch.equal(classifier.logits(embedding), expected)
    best = expected.argmax(1).tolist()
    assert classifier.names_of(expected) == [("ä b", "b", "c")[index] for index in best]


def _spoil(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        document = json.loads((folder / CLASSES).read_text())
        change(document)
        (folder / CLASSES).write_text(json.dumps(document))

    return apply


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / CLASSES).unlink(), "the model has no classes"),
        (lambda folder: (folder / CLASSES).write_text("{"), "is not a valid list of classes"),
        (_spoil(lambda d: d.update(format=2)), "is not a list of classes of format 1"),
        (_spoil(lambda d: d.update(classes=["a", "a", "b"])), "is not a list of classes of format 1"),
        (_spoil(lambda d: d.update(bias=[1.0])), "is not a list of classes of format 1"),
        (_spoil(lambda d: d.update(bias=None, classes=["a", "b"])), "names 2 classes; the weights"),
        (lambda folder: (folder / "pretraining.safetensors").unlink(), "no pretraining.safetensors"),
    ],
)
def test_damaged_folders_are_named(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    folder = tmp_path / "model"
    _save(folder, Classes(("a", "b", "c"), "linear", bias_K=torch.zeros(3)), torch.randn(3, 8), {})
    spoil(folder)
    with pytest.raises(InputError, match=message):
        read_classifier(folder)
