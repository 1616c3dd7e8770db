"""Ensembles of models that hear different halves of a voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.experiments.ensemble import Whitening, _turned_mean, compare_ensembles
from sdpn.experiments.held_out import HeldOutTrials, read_held_out
from sdpn.io.kaldi import Utterance, write_data_dir


class Hears:
    """Embeds an utterance by a part of a code that its first samples spell, with noise of its own."""

    def __init__(self, part: slice, seed: int) -> None:
        self._part = part
        self._seed = seed

    def rows(self, held_out: HeldOutTrials) -> np.ndarray:
        """Embeddings of all utterances."""
        rng = np.random.default_rng(self._seed)
        codes = np.stack([one.read()[:64] for one in held_out.utterances])[:, self._part] * 10
        rows: np.ndarray = codes + rng.normal(0, 1.2, codes.shape)
        return rows


@pytest.fixture
def sides(tmp_path: Path) -> tuple[HeldOutTrials, HeldOutTrials]:
    """Two sets of 30 people with 8 utterances each, whose codes are 64 numbers."""
    rng = np.random.default_rng(0)
    found = []
    for name in ("dev", "fit"):
        folder = tmp_path / name
        folder.mkdir()
        utterances = []
        for person in range(30):
            code = rng.normal(0, 0.1, 64)
            for number in range(8):
                path = folder / f"{person}-{number}.wav"
                soundfile.write(path, np.tile(code, 3), 16000, subtype="FLOAT")
                utterances.append(
                    Utterance(f"{name}{person:02}-{number}", path, speaker=f"{name}{person:02}")
                )
        write_data_dir(folder, utterances)
        ids = [one.id for one in utterances]
        pairs = [(a, b) for a in ids for b in ids if a < b and (a[:5] == b[:5] or rng.random() < 0.08)]
        (folder / "trials").write_text("".join(f"{int(a[:5] == b[:5])} {a} {b}\n" for a, b in pairs))
        found.append(read_held_out(folder))
    return found[0], found[1]


#: What the models a, b and c hear.
_MODELS = {"a": Hears(slice(0, 32), 1), "b": Hears(slice(32, 64), 2), "c": Hears(slice(0, 16), 3)}


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are read and embed as `_MODELS` say."""
    monkeypatch.setattr("sdpn.experiments.ensemble.load_model", lambda path: _MODELS[path.parent.name])
    monkeypatch.setattr(HeldOutTrials, "embed", lambda self, model, _on=None: model.rows(self))


@pytest.mark.usefixtures("pretended")
def test_models_that_hear_different_things_are_better_together(
    sides: tuple[HeldOutTrials, HeldOutTrials], tmp_path: Path
) -> None:
    paths = [tmp_path / name / "model" for name in "abc"]
    found = compare_ensembles(paths, *sides)
    by_name = {row.name: row for row in found.rows}
    assert [row.name for row in found.rows if row.is_single] == ["a/model", "b/model", "c/model"]
    assert found.best_single in (0, 1) and found.average is None
    (note,) = found.notes
    assert "not all models are model folders" in note
    best = found.rows[found.best_single]
    assert best.compared.difference == 0 and best.compared.difference_interval.low == 0
    for name in ("embeddings, concatenated", "scores, mean", "scores, fused"):
        together = by_name[name].compared
        assert together.difference < -0.02 and together.difference_interval.high < 0, name
    # the best single model was chosen on the other people
    assert best.fit_eer == min(row.fit_eer for row in found.rows if row.is_single)
    assert best.compared.eer == pytest.approx(sides[0].eer(best.scores))


def test_whitened_embeddings_have_no_mean_and_are_alike_in_all_directions() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 6)) * [1, 1, 1, 1, 1, 3] + [4, 0, 0, 0, 0, 0]
    whitening = Whitening.fit(rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    white = (unit - whitening.mean_D) @ whitening.matrix_DD
    values = np.linalg.eigvalsh(np.cov(white.T))
    assert values.max() / values.min() < 25 and values.max() == pytest.approx(1.0)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(whitening(rows), axis=1), 1)


def test_turned_copies_have_the_mean_of_the_original() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    turn, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    ours, theirs = _turned_mean([(rows[:10], rows), (rows[:10] @ turn, rows @ turn)])
    np.testing.assert_allclose(ours, 2 * rows[:10], atol=1e-9)
    np.testing.assert_allclose(theirs, 2 * rows, atol=1e-9)


def test_shared_speech_is_refused(sides: tuple[HeldOutTrials, HeldOutTrials], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="share 240 utterances"):
        compare_ensembles([tmp_path / "a", tmp_path / "b"], sides[0], sides[0])
    with pytest.raises(InputError, match="given twice"):
        compare_ensembles([tmp_path / "a"] * 2, *sides)
