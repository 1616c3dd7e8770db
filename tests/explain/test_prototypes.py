"""Prototypes: members, what they share, and what moved between two models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sdpn.errors import InputError
from sdpn.explain.checkpoint_model import ExplainedModel, read_explained
from sdpn.explain.page import ExplainPage
from sdpn.explain.prototypes import explain_prototypes, prototype_sections
from sdpn.models.folder import read_model, save_model
from sdpn.models.pretraining import Pretraining
from tests.explain.conftest import write_voices


@pytest.fixture
def of_voices(tiny_folder: Path, tmp_path: Path) -> tuple[ExplainedModel, Path]:
    """A model whose first two prototypes are the embeddings of two utterances, and its data."""
    write_voices(tmp_path / "data", [0, 1, 4], 3, seconds=1.0)
    model = read_explained(tiny_folder)
    rows = torch.from_numpy(
        model.embedder.embed([tmp_path / "data" / name for name in ("v0-0.wav", "v4-0.wav")])
    )
    head = {"layers.0.weight": torch.eye(12), "layers.0.bias": -rows.mean(0)}
    prototypes = torch.cat([rows - rows.mean(0), torch.eye(12)[:3]])
    save_model(tmp_path / "model", read_model(tiny_folder), pretraining=Pretraining(head, prototypes))
    return read_explained(tmp_path / "model"), tmp_path / "data"


def test_members_and_purity(of_voices: tuple[ExplainedModel, Path]) -> None:
    from sdpn.io.kaldi import read_data_dir

    model, data = of_voices
    found = explain_prototypes(model, read_data_dir(data), data=data)
    assert found.num_prototypes == 5 and found.num_used >= 2
    by_index = {one.index: one for one in found.prototypes}
    assert "v0-0" in by_index[0].members and by_index[0].nearest[0] == "v0-0"
    assert "v4-0" in by_index[1].members
    assert sum(len(one.members) for one in found.prototypes) == 9
    assert set(found.purity) == {"speaker", "gender"} and 0 < found.purity["speaker"] <= 1
    page = ExplainPage("prototypes", prototype_sections(model, found)).html()
    assert page.count("<audio") >= 4 and "Prototype 0" in page
    with pytest.raises(InputError, match="no prototype 5"):
        explain_prototypes(model, read_data_dir(data), index=5)


def test_what_moved(of_voices: tuple[ExplainedModel, Path]) -> None:
    from sdpn.io.kaldi import read_data_dir

    model, data = of_voices
    assert model.pretraining is not None
    swapped = model.pretraining.prototypes[[1, 0, 2, 3, 4]]
    after = ExplainedModel(model.embedder, Pretraining(model.pretraining.head, swapped), "after", model.path)
    found = explain_prototypes(model, read_data_dir(data), against=after)
    assert {one.index for one in found.moves[:2]} == {0, 1}
    first = next(one for one in found.moves if one.index == 0)
    before = {one.index: set(one.members) for one in found.prototypes}
    assert set(first.lost) == before[0] and set(first.won) == before[1]
    assert first.from_prototypes == {1: len(before[1])}
    assert found.moves[-1].drift == pytest.approx(0, abs=1e-6) and not found.moves[-1].won


def test_models_without_prototypes_or_with_others(tiny_folder: Path, tmp_path: Path) -> None:
    write_voices(tmp_path / "data", [0, 1], 1, seconds=1.0)
    save_model(tmp_path / "bare", read_model(tiny_folder))
    with pytest.raises(InputError, match=r"bare.*has no prototypes to explain"):
        read_explained(tmp_path / "bare").require_prototypes()
    from sdpn.io.kaldi import read_data_dir

    model = read_explained(tiny_folder)
    assert model.pretraining is not None
    fewer = ExplainedModel(
        model.embedder,
        Pretraining(model.pretraining.head, model.pretraining.prototypes[:5]),
        "fewer",
        tiny_folder,
    )
    with pytest.raises(InputError, match="12 and 5 prototypes"):
        explain_prototypes(model, read_data_dir(tmp_path / "data"), against=fewer)
