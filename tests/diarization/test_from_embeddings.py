"""Embeddings of windows to turns: the command writes what the library finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdpn.cli.main import main
from sdpn.clustering.registry import make_clusterer
from sdpn.diarization.from_embeddings import cluster_windows, read_embedded_windows
from sdpn.errors import InputError
from sdpn.io.kaldi import vector_writer
from sdpn.io.rttm import read_rttm


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Two recordings of three voices, windows of 1.5 s every 0.75 s in random order."""
    rng = np.random.default_rng(0)
    rows = []
    for recording in ("a", "b"):
        for at, who in enumerate(np.repeat([0, 1, 2, 0], 12)):
            vector = np.eye(8)[who] + 0.05 * rng.normal(size=8)
            rows.append((f"{recording}{at:03d}", recording, 0.75 * at, 0.75 * at + 1.5, vector))
    order = rng.permutation(len(rows))
    with vector_writer(tmp_path) as write:
        for index in order:
            write(rows[index][0], rows[index][-1].astype(np.float32))
    lines = ["{} {} {} {}\n".format(*rows[index][:4]) for index in rng.permutation(len(rows))]
    (tmp_path / "segments").write_text("".join(lines))
    return tmp_path / "embeddings.scp", tmp_path / "segments"


def test_the_command_writes_what_the_library_finds(tables: tuple[Path, Path], tmp_path: Path) -> None:
    embeddings, segments = tables
    command = ["cluster", "--embeddings", embeddings, "--segments", segments, "--out", tmp_path / "out"]
    options = ["--method", "vbx", "--max-speakers", "5", "--min-windows", "2", "vbx.fa=0.4", "--quiet"]
    assert main([str(word) for word in [*command, *options]]) == 0
    recordings = read_embedded_windows(embeddings, segments)
    assert sorted(one.recording for one in recordings) == ["a", "b"]
    for windows in recordings:
        assert (np.diff(windows.times_N2[:, 0]) == 0.75).all()
        found = cluster_windows(windows, make_clusterer("vbx", {"fa": 0.4}), max_speakers=5, min_windows=2)
        (turns,) = read_rttm(tmp_path / "out" / f"{windows.recording}.rttm").values()
        assert [turn.speaker for turn in turns] == [turn.speaker for turn in found.turns]
        onsets = [turn.onset_s for turn in found.turns]
        assert [turn.onset_s for turn in turns] == pytest.approx(onsets, abs=1e-3)
        assert [turn.speaker for turn in turns] == ["speaker00", "speaker01", "speaker02", "speaker00"]
        assert onsets == pytest.approx([0, 9.375, 18.375, 27.375]) and found.num_speakers == 3
        assert found.speech_s == pytest.approx(0.75 * 47 + 1.5)


def test_an_embedding_without_a_window_is_refused(tables: tuple[Path, Path]) -> None:
    embeddings, segments = tables
    lines = segments.read_text().splitlines(keepends=True)
    segments.write_text("".join(lines[1:]))
    with pytest.raises(InputError, match=rf"'{lines[0].split()[0]}' is not in .*segments"):
        read_embedded_windows(embeddings, segments)
