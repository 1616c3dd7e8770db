"""A fit that was interrupted goes on as if nothing had happened, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.kmeans.chunks import Chunk, IterableChunk, NpyChunk
from sdpn.kmeans.fit import Fit, FitProgress, fit_stream
from sdpn.kmeans.settings import StreamSettings
from tests.kmeans.rows import blobs

ROWS, _ = blobs(1000, 12, noise=0.8)

#: Several epochs with random reassignments, then several exact passes; a stream longer than its sample.
SETTINGS: dict[str, Any] = {
    "n_clusters": 9, "batch_size": 64, "max_iter": 4, "max_no_improvement": None, "init_size": 150,
    "lloyd_passes": 3, "reassignment_ratio": 0.4, "standardise": True,
}  # fmt: skip


class Interrupt(Exception):
    pass


def chunks(*, stop_after: int | None = None) -> list[Chunk]:
    """Four chunks of pieces of 50 rows; reading raises after so many pieces."""
    left = [np.inf if stop_after is None else stop_after]

    def make(rows: np.ndarray) -> Any:
        def pieces() -> Iterator[np.ndarray]:
            for at in range(0, len(rows), 50):
                left[0] -= 1
                if left[0] < 0:
                    raise Interrupt
                yield rows[at : at + 50]

        return pieces

    return [
        IterableChunk(name=f"part {number}", pieces=make(rows))
        for number, rows in enumerate(np.array_split(ROWS, 4))
    ]


def assert_same(found: Fit, expected: Fit) -> None:
    np.testing.assert_array_equal(found.model.centres_KD, expected.model.centres_KD)
    np.testing.assert_array_equal(found.model.space.scale_D, expected.model.space.scale_D)
    np.testing.assert_array_equal(found.history_T2, expected.history_T2)
    assert found.held_out == expected.held_out
    assert found.rows_per_pass == expected.rows_per_pass


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("stop_after", [0, 3, 7, 20, 21, 40, 55, 99, 101, 110, 130, 159])
def test_a_stream_that_raises_midway_is_resumed(stop_after: int, spherical: bool, tmp_path: Path) -> None:
    settings = StreamSettings(**SETTINGS, spherical=spherical)
    expected = fit_stream(chunks(), settings)
    assert len(expected.rows_per_pass) == 7, "160 pieces are read: all stages are interrupted"
    state = tmp_path / "state.npz"
    with pytest.raises(Interrupt):
        fit_stream(chunks(stop_after=stop_after), settings, state=state)
    assert state.is_file()
    assert_same(fit_stream(chunks(), settings, state=state), expected)


def test_interrupted_again_and_again(tmp_path: Path) -> None:
    settings, state = StreamSettings(**SETTINGS), tmp_path / "state.npz"
    found = None
    for attempt in range(200):
        try:
            found = fit_stream(chunks(stop_after=11 + attempt % 5), settings, state=state)
            break
        except Interrupt:
            continue
    assert found is not None
    assert_same(found, fit_stream(chunks(), settings))


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    settings, state = StreamSettings(**SETTINGS), tmp_path / "state.npz"
    expected = fit_stream(chunks(), settings, state=state)
    assert_same(fit_stream(chunks(stop_after=0), settings, state=state), expected)


def test_killed(tmp_path: Path) -> None:
    """SIGKILL leaves no time to save: the run goes on from the last save."""
    for number, rows in enumerate(np.array_split(ROWS, 4)):
        np.save(tmp_path / f"{number}.npy", rows)
    program = f"""
import os, signal
from sdpn.kmeans.chunks import NpyChunk
from sdpn.kmeans.fit import fit_stream
from sdpn.kmeans.settings import StreamSettings
steps = []
def progress(_):
    steps.append(1)
    if len(steps) == 30:
        os.kill(os.getpid(), signal.SIGKILL)
chunks = [NpyChunk(name=str({str(tmp_path)!r}) + f"/{{number}}.npy") for number in range(4)]
fit_stream(chunks, StreamSettings(**{SETTINGS!r}), state={str(tmp_path / "state.npz")!r}, save_every_s=0.02,
           on_progress=progress)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    files: list[Chunk] = [NpyChunk(name=f"{tmp_path}/{number}.npy") for number in range(4)]
    reported: list[FitProgress] = []
    resumed = fit_stream(
        files, StreamSettings(**SETTINGS), state=tmp_path / "state.npz", on_progress=reported.append
    )
    whole: list[FitProgress] = []
    assert_same(resumed, fit_stream(files, StreamSettings(**SETTINGS), on_progress=whole.append))
    assert len(reported) < len(whole), "it began from the start"


def test_bad_rows_are_mended_and_gone_on_with(tmp_path: Path) -> None:
    settings, state = StreamSettings(**SETTINGS), tmp_path / "state.npz"
    bad = ROWS[500:].copy()
    bad[3, 2] = np.inf
    np.save(tmp_path / "a.npy", ROWS[:500])
    np.save(tmp_path / "b.npy", bad)
    files: list[Chunk] = [NpyChunk(name=str(tmp_path / name)) for name in ("a.npy", "b.npy")]
    with pytest.raises(InputError, match=r"b\.npy: row 3 contains NaN"):
        fit_stream(files, settings, state=state)
    np.save(tmp_path / "b.npy", ROWS[500:])
    assert_same(fit_stream(files, settings, state=state), fit_stream(files, settings))


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    fit_stream(chunks(), StreamSettings(**SETTINGS), state=state)
    with pytest.raises(InputError, match=r"state\.npz: was saved by a run with different settings"):
        fit_stream(chunks(), StreamSettings(**SETTINGS, seed=1), state=state)
    with pytest.raises(InputError, match="with different chunks"):
        fit_stream(chunks()[:3], StreamSettings(**SETTINGS), state=state)
    with pytest.raises(InputError, match="with different start"):
        fit_stream(chunks(), StreamSettings(**SETTINGS), state=state, centres_KD=ROWS[:9])
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError, match="is not a complete saved state"):
        fit_stream(chunks(), StreamSettings(**SETTINGS), state=state)


def test_a_state_runs_no_code(tmp_path: Path) -> None:
    np.savez(tmp_path / "state.npz", header=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="is not a complete saved state"):
        fit_stream(chunks(), StreamSettings(**SETTINGS), state=tmp_path / "state.npz")
