"""``sdpn cluster``: the published example, what it writes, and its errors on bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdpn.cli.main import main
from sdpn.clustering.registry import CLUSTERERS
from sdpn.io.kaldi import vector_writer
from sdpn.io.rttm import read_rttm
from sdpn.metrics.diarization import score_recordings
from sdpn.verification.plda import from_covariances, write_plda


def cluster(*args: object) -> int:
    return main(["cluster", *map(str, args)])


def score(reference: Path, hypothesis: Path, **options: object) -> float:
    """DER in percent."""
    (recording,) = score_recordings(read_rttm(reference), read_rttm(hypothesis), **options)  # type: ignore[arg-type]
    return 100 * recording.components.der


Windows = list[tuple[str, str, float, float, list[float]]]

#: Two recordings, utterances out of order: A speaks, then B over the end of A's window; B, silence, A.
WINDOWS: Windows = [
    ("m1-b", "m1", 0.75, 2.25, [0.0, 1.0, 0.01]),
    ("m1-a", "m1", 0.0, 1.5, [1.0, 0.0, 0.0]),
    ("m2-a", "m2", 1.0, 2.0, [0.0, 2.0, 0.0]),
    ("m2-b", "m2", 5.0, 6.0, [3.0, 0.1, 0.0]),
]


def write(folder: Path, windows: Windows = WINDOWS) -> tuple[object, ...]:
    """Embeddings and segments in ``folder``, as the command's options."""
    with vector_writer(folder) as write_vector:
        for key, _, _, _, vector in windows:
            write_vector(key, np.array(vector))
    segments = folder / "segments"
    segments.write_text(
        "".join(f"{key} {recording} {start} {end}\n" for key, recording, start, end, _ in windows)
    )
    return ("--embeddings", folder / "embeddings.ark", "--segments", segments, "--out", folder / "out")


def rttm(recording: str, *turns: tuple[str, str, str]) -> str:
    return "".join(
        f"SPEAKER {recording} 1 {on} {for_} <NA> <NA> {who} <NA> <NA>\n" for on, for_, who in turns
    )


@pytest.mark.parametrize("table", ["embeddings.ark", "embeddings.scp"])
def test_one_rttm_per_recording_and_overlapping_windows_meet_halfway(table: str, tmp_path: Path) -> None:
    options = write(tmp_path)
    assert cluster("--method", "ahc", *options, "--embeddings", tmp_path / table) == 0
    assert (tmp_path / "out" / "m1.rttm").read_text() == rttm(
        "m1", ("0.000", "1.125", "speaker00"), ("1.125", "1.125", "speaker01")
    )
    assert (tmp_path / "out" / "m2.rttm").read_text() == rttm(
        "m2", ("1.000", "1.000", "speaker00"), ("5.000", "1.000", "speaker01")
    )


def test_the_published_example(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """AHC and VBx at the settings of its authors: 26.28 % and 7.06 % are their published figures."""
    data = shared_data / "xvectors"
    options = ("--embeddings", data / "ES2005a.ark", "--segments", data / "ES2005a.seg", "--out", tmp_path)
    space = ("--plda", data / "plda", "--transform", data / "transform.npz", "--json", tmp_path / "c.json")
    assert cluster("--method", "vbx", *options, *space) == 0
    reference, hypothesis = data / "ES2005a.ref.rttm", tmp_path / "ES2005a.rttm"
    assert score(reference, hypothesis) == pytest.approx(26.28, abs=0.05)
    assert score(reference, hypothesis, collar_s=0.25, skip_overlap=True) == pytest.approx(7.06, abs=0.05)
    document = json.loads((tmp_path / "c.json").read_text())
    assert document["schema"] == "sdpn.cluster/1"
    (file,) = document["results"]["files"]
    assert (file["recording"], file["num_windows"], file["num_speakers"]) == ("ES2005a", 1025, 5)
    assert file["num_turns"] == len(read_rttm(hypothesis)["ES2005a"])
    assert "ES2005a" in capsys.readouterr().out


def test_consensus_is_better_than_the_published_example(shared_data: Path, tmp_path: Path) -> None:
    data = shared_data / "xvectors"
    options = ("--embeddings", data / "ES2005a.ark", "--segments", data / "ES2005a.seg", "--out", tmp_path)
    space = ("--plda", data / "plda", "--transform", data / "transform.npz")
    assert cluster("--method", "consensus", *options, *space) == 0
    reference, hypothesis = data / "ES2005a.ref.rttm", tmp_path / "ES2005a.rttm"
    assert score(reference, hypothesis) < 22.5
    assert score(reference, hypothesis, collar_s=0.25, skip_overlap=True) < 2.5


@pytest.mark.parametrize("method", sorted(CLUSTERERS))
def test_every_method_and_the_numbers(method: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2, 0], 20)
    windows: Windows = [
        (f"u{at:03d}", "rec", 0.75 * at, 0.75 * at + 1.5, list(np.eye(8)[who] + 0.05 * rng.normal(size=8)))
        for at, who in enumerate(truth)
    ]
    options = ("--quiet", "--method", method, *write(tmp_path, windows))

    def num_speakers(*counts: object) -> int:
        assert cluster(*options, *counts) == 0
        return len({turn.speaker for turn in read_rttm(tmp_path / "out" / "rec.rttm")["rec"]})

    assert num_speakers() == 3
    assert num_speakers("--num-speakers", 2) == 2
    assert num_speakers("--num-speakers", 5) == 5
    assert num_speakers("--max-speakers", 2) == 2
    assert num_speakers("--min-speakers", 4) >= 4


def test_settings_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write(tmp_path)

    def labels(*arguments: object) -> set[str]:
        assert cluster(*options, *arguments) == 0
        return {turn.speaker for turn in read_rttm(tmp_path / "out" / "m1.rttm")["m1"]}

    assert len(labels("--threshold", -0.5)) == 1
    assert len(labels("threshold=-0.5")) == 1
    assert len(labels("ahc.threshold=0.5", "ahc.linkage=ward")) == 2
    assert cluster(*options, "treshold=0.5") == 2
    assert "did you mean 'threshold'" in capsys.readouterr().err
    assert cluster(*options, "threshold=high") == 2
    assert "'threshold' is 'high'" in capsys.readouterr().err
    assert cluster(*options, "--set", "threshold") == 2
    assert "expected section.key=value" in capsys.readouterr().err


def test_minor_speakers_are_merged_only_when_asked(tmp_path: Path) -> None:
    vectors = [[1.0, 0.0]] * 5 + [[0.2, 1.0]] + [[-1.0, 0.1]] * 5
    windows: Windows = [(f"u{at:02d}", "rec", at, at + 1, vector) for at, vector in enumerate(vectors)]
    options = ("--quiet", *write(tmp_path, windows))
    for arguments, expected in (
        ((), 3),
        (("--min-windows", 2), 2),
        (("--min-windows", 2, "--min-speakers", 3), 3),
    ):
        assert cluster(*options, *arguments) == 0
        turns = read_rttm(tmp_path / "out" / "rec.rttm")["rec"]
        assert len({turn.speaker for turn in turns}) == expected


def test_a_plda_scores_in_the_place_of_the_cosine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first dimension is independent of the speaker, but dominates the cosine."""
    plda = from_covariances(np.zeros(2), np.diag([1e-6, 1.0]), np.diag([1.0, 0.01]))
    write_plda(tmp_path / "plda", plda, binary=False)
    vectors = [[9.0, 1.0], [-9.0, 1.0], [9.0, -1.0], [-9.0, -1.0]]
    windows: Windows = [(f"u{at}", "rec", at, at + 1, vector) for at, vector in enumerate(vectors)]
    options = write(tmp_path, windows)
    for arguments, expected in (((), "0 1 0 1"), (("--plda", tmp_path / "plda"), "0 0 1 1")):
        assert cluster(*options, "--num-speakers", 2, *arguments) == 0
        turns = read_rttm(tmp_path / "out" / "rec.rttm")["rec"]
        found = " ".join(
            next(turn.speaker[-1] for turn in turns if turn.onset_s <= at + 0.5 < turn.end_s)
            for at in range(4)
        )
        assert found == expected
    assert cluster(*options, "--plda", tmp_path / "plda", "--method", "spectral") == 2
    assert "spectral does not use a PLDA" in capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that the command ends with; nothing may be written."""
    assert cluster("--quiet", *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert error.startswith("sdpn cluster: error: ")
    out = Path(str(arguments[arguments.index("--out") + 1]))
    assert not out.is_dir() or not any(out.iterdir())
    return error


@pytest.mark.parametrize(
    ("vector", "message"),
    [([0.0, 0.0, 0.0], "the vector of 'm2-a' is all zeros"),
     ([np.nan, 1, 1], "'m2-a' contains NaN or infinite"),
     ([1, np.inf, 1], "'m2-a' contains NaN or infinite"), ([1.0, 2.0], "'m2-a' has 2 dimensions")],
)  # fmt: skip
def test_bad_vectors_are_named(
    vector: list[float], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = [(*window[:4], vector) if window[0] == "m2-a" else window for window in WINDOWS]
    error = refused(capsys, *write(tmp_path, windows))
    assert message in error
    assert str(tmp_path / "embeddings.ark") in error


def test_ids_that_only_one_of_the_files_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, segments, ark = write(tmp_path), tmp_path / "segments", tmp_path / "embeddings.ark"
    whole = segments.read_text()
    segments.write_text(whole + "m3-a m3 0 1\nm3-b m3 1 2\n")
    error = refused(capsys, *options)
    assert f"{segments}: utterance 'm3-a' (and 1 more) is not in {ark}" in error
    segments.write_text(whole.replace("m1-b m1 0.75 2.25\n", ""))
    assert f"{ark}: utterance 'm1-b' is not in {segments}" in refused(capsys, *options)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("m1-c m1 1.0", ":5: expected 'utterance recording start end [channel]'"),
        ("m1-c m1 1.0 one", ":5: expected 'utterance recording start end [channel]'"),
        ("m1-c m1 2.0 1.0", ":5: utterance 'm1-c' runs from 2.0 to 1.0 s"),
        ("m1-a m1 0.0 1.5", ":5: utterance 'm1-a' occurs a second time"),
        ("m1-c m1 0.9 1.1", ": window 'm1-c' lies within 'm1-b'"),
        ("m1-c ../m1 0.9 1.1", ": recording '../m1' is not a valid file name"),
    ],
)
def test_bad_segments_are_named(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, segments = write(tmp_path), tmp_path / "segments"
    segments.write_text(segments.read_text() + line + "\n")
    assert f"{segments}{message}" in refused(capsys, *options)


def test_no_segments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write(tmp_path)
    (tmp_path / "segments").write_text("\n")
    assert "contains no segments" in refused(capsys, *options)
    (tmp_path / "segments").unlink()
    assert "no such file" in refused(capsys, *options)


def test_spaces_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--method", "vbx", *write(tmp_path))
    write_plda(tmp_path / "plda", from_covariances(np.zeros(2), np.eye(2), np.eye(2)))
    error = refused(capsys, *options, "--plda", tmp_path / "plda")
    assert (
        "the PLDA has 2 dimensions, but the embeddings have 3 (check whether a transform is missing" in error
    )
    np.savez(tmp_path / "t.npz", mean1=np.zeros(4), lda=np.eye(4)[:, :2], mean2=np.zeros(2))
    assert "expects 4 dimensions" in refused(capsys, *options, "--transform", tmp_path / "t.npz")
    for name, option in (("plda", "--plda"), ("t.npz", "--transform")):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        error = refused(capsys, *options, option, tmp_path / name)
        assert str(tmp_path / name) in error
        assert "is not a complete" in error


def test_a_recording_with_too_few_windows_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows: Windows = [*WINDOWS, ("m0-a", "m0", 0.0, 1.0, [1.0, 1.0, 1.0])]
    assert cluster("--quiet", *write(tmp_path, windows), "--num-speakers", 2) == 2
    error = capsys.readouterr().err
    assert "recording 'm0': 2 speakers are requested, but the speech gives only 1 window" in error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["m1.rttm", "m2.rttm"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-speakers", 2, "--max-speakers", 3], "--num-speakers contradicts"),
        (["--min-speakers", 4, "--max-speakers", 3], "min_speakers is 4, above max_speakers"),
        (["--num-speakers", 0], "is 0; expected at least 1"),
        (["--min-windows", 3, "--num-speakers", 2], "--min-windows would change the number"),
        (["--method", "kmeans", "--threshold", 0.3], "kmeans has no threshold"),
        (["--threshold", 0.3, "threshold=0.2"], "contradict each other"),
        (["--threshold", 3], "threshold is 3.0"),
    ],
)
def test_options_that_make_no_sense(
    options: list[object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *write(tmp_path), *options)


def test_out_is_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write(tmp_path)
    (tmp_path / "out").write_text("")
    assert "a file is in the place of a folder" in refused(capsys, *options)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_turns_cover_the_windows_once_and_nothing_else(data: st.DataObject, tmp_path: Path) -> None:
    """Windows in order of time, with gaps and overlaps: every moment in a window has one speaker."""
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    steps = data.draw(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 900)), min_size=1, max_size=12))
    windows: Windows = []
    start = end = 0
    for at, (ahead, beyond) in enumerate(steps):
        start, end = start + ahead, max(end, start + ahead) + beyond
        windows.append((f"u{at:02d}", "rec", start / 1000, end / 1000, [np.cos(at), np.sin(at)]))
    num = data.draw(st.integers(1, len(windows)))
    assert cluster("--quiet", *write(tmp_path, windows), "--num-speakers", num) == 0
    covered = np.zeros(end + 1, dtype=int)
    for _, _, first, last, _ in windows:
        covered[round(first * 1000) : round(last * 1000)] = 1
    spoken = np.zeros(end + 1, dtype=int)
    for turn in read_rttm(tmp_path / "out" / "rec.rttm")["rec"]:
        spoken[round(turn.onset_s * 1000) : round(turn.end_s * 1000)] += 1
    np.testing.assert_array_equal(spoken, covered)


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cluster("--help")
    assert caught.value.code == 0
    assert "sdpn cluster --method vbx --embeddings xvectors.ark" in capsys.readouterr().out
