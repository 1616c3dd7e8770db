"""Groups of trials, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdpn.benchmark import groups
from sdpn.benchmark.evaluation_sets import EvaluationSets
from sdpn.errors import InputError


@pytest.fixture
def sets(corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluationSets:
    """The small corpora, linked, so that files can be added beside them."""
    monkeypatch.setattr(groups, "_LEAST", 1)
    for corpus in ("speechocean762", "commonvoice"):
        (tmp_path / corpus).mkdir()
        for name in ("dev", "dev_trials"):
            (tmp_path / corpus / name).symlink_to(corpora / corpus / name)
    return EvaluationSets(tmp_path, tmp_path / "work")


def test_age_and_sex(sets: EvaluationSets) -> None:
    (sets.data / "speechocean762/spk2age").write_text("0001 6\n2 15\n3 16\n4 40\n")
    (sets.data / "speechocean762/spk2gender").write_text("0001 m\n0002 f\n0003 M\n0004 female\n")
    found = sets.verification("speechocean762")
    names = np.array([each.speaker for each in found.utterances])
    first, second = names[found.trials.first], names[found.trials.second]
    expected = {
        "children (under 16)": ("0001", "0002"),
        "adults": ("0003", "0004"),
        "male": ("0001", "0003"),
        "female": ("0002", "0004"),
    }
    assert found.groups.keys() == {"both under 3 s", *expected}
    for name, members in expected.items():
        np.testing.assert_array_equal(found.groups[name], np.isin(first, members) & np.isin(second, members))
        assert found.groups[name].sum() == 15  # 3 target trials of each of two, 9 between them


def test_language(sets: EvaluationSets) -> None:
    same = sets.verification("commonvoice").groups["same language"]
    assert same.sum() == 30  # 15 of two speakers of English, and of German


def test_a_missing_speaker(sets: EvaluationSets) -> None:
    path = sets.data / "speechocean762/spk2age"
    path.write_text("0001 6\n")
    with pytest.raises(InputError, match="has no speaker '0002'") as caught:
        sets.verification("speechocean762")
    assert caught.value.path == str(path)
    path.write_text("1 6\n2 x\n3 5\n4 5\n")
    with pytest.raises(InputError, match="something other than numbers"):
        sets.verification("speechocean762")
