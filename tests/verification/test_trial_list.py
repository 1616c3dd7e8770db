"""Scores of a list of trials: the command prints what the library finds, with every kind of scoring."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sdpn.cli.main import main
from sdpn.io.kaldi import vector_writer
from sdpn.io.trials import read_trials
from sdpn.metrics.verification_figures import verification_figures
from sdpn.verification.back_end import BackEnd
from sdpn.verification.plda import from_covariances, write_plda
from sdpn.verification.storage import write_back_end
from sdpn.verification.trial_list import score_trial_list, speakers_of_trials


@pytest.fixture
def folder(tmp_path: Path, parts: np.ndarray, back_end: BackEnd) -> Path:
    """Trials of 40 utterances of 20 speakers, a cohort, a PLDA and a back end of such embeddings."""
    for name, rows in (("dev", parts[:20].reshape(40, -1)), ("cohort", parts[20:].mean(axis=1))):
        with vector_writer(tmp_path, name) as write:
            for index, row in enumerate(rows):
                write(f"{name}{index}", row)
    pairs = [(first, second) for first in range(40) for second in range(first)]
    lines = [f"{int(first // 2 == second // 2)} dev{first} dev{second}\n" for first, second in pairs]
    (tmp_path / "trials").write_text("".join(lines))
    (tmp_path / "utt2spk").write_text("".join(f"dev{index} s{index // 2}\n" for index in range(40)))
    dimension = parts.shape[2]
    plda = from_covariances(np.ones(dimension), np.eye(dimension), np.diag(np.linspace(0.3, 1, dimension)))
    write_plda(tmp_path / "plda", plda, binary=False)
    write_back_end(tmp_path / "back_end.safetensors", back_end)
    return tmp_path


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"mean": "cohort.scp", "cohort": "cohort.scp"},
        {"plda": "plda", "cohort": "cohort.ark"},
        {"back_end": "back_end.safetensors"},
    ],
)
def test_the_command_prints_what_the_library_finds(files: dict[str, str], folder: Path) -> None:
    given = {option: folder / name for option, name in files.items()}
    command = ["verify", "--trials", folder / "trials", "--embeddings", folder / "dev.scp"]
    command += ["--utt2spk", folder / "utt2spk", "--resamples", 20, "--top-n", 30, "--json", folder / "json"]
    command += ["--scores", folder / "scores"]
    for option, path in given.items():
        command += [f"--{option.replace('_', '-')}", path]
    assert main([str(word) for word in command]) == 0
    results = json.loads((folder / "json").read_text())["results"]

    trials = read_trials(folder / "trials")
    scored = score_trial_list(trials, folder / "dev.scp", top=30, **given)
    speakers = speakers_of_trials(trials, folder / "utt2spk")
    sides = (speakers[trials.first], speakers[trials.second])
    found = verification_figures(scored.scores, trials.is_target, speakers=sides, resamples=20)
    for key in ("eer", "threshold", "min_dcf_001", "min_dcf_005", "cllr", "min_cllr"):
        assert results[key] == getattr(found, key), key
    assert (results["eer_low"], results["eer_high"]) == (found.interval.low, found.interval.high)
    assert results["scores"] == ", ".join(scored.steps)
    assert scored.is_normalised == bool(files.keys() & {"cohort", "back_end"})
    written = np.array([float(line.split()[2]) for line in (folder / "scores").read_text().splitlines()])
    np.testing.assert_allclose(written, scored.scores, atol=1e-6)


def test_speakers_are_numbered_by_utterance(folder: Path) -> None:
    trials = read_trials(folder / "trials")
    speakers = speakers_of_trials(trials, folder / "utt2spk")
    assert len(set(speakers.tolist())) == 20
    same = speakers[trials.first] == speakers[trials.second]
    assert np.array_equal(same, trials.is_target)
