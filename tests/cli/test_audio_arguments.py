"""Recordings on the command line: names, folders, channels, and what cannot be read."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdpn.cli.audio_arguments import add_audio_arguments
from sdpn.cli.main import main
from sdpn.io.kaldi import read_vectors


@pytest.mark.parametrize("text", ["-1", "left", "1.5", "", "²"])
def test_what_is_no_channel(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_audio_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--channel={text}"])
    assert "expected a channel number" in capsys.readouterr().err


def test_extract_of_a_folder_goes_on_past_bad_files(recordings_folder: Path, tmp_path: Path) -> None:
    content = (recordings_folder / "a.wav").read_bytes()
    (recordings_folder / "cut.wav").write_bytes(content[: len(content) * 3 // 4])
    (recordings_folder / "bad.mp3").write_bytes(b"nothing that sounds")
    arguments = ["extract", str(recordings_folder), "--precision", "fp32", "--quiet", "--out"]
    assert main([*arguments, str(tmp_path / "strict")]) == 1
    assert set(read_vectors(tmp_path / "strict/embeddings.scp")) == {"a", "day_1-b"}
    assert main([*arguments, str(tmp_path / "kept"), "--skip-bad"]) == 0
    assert set(read_vectors(tmp_path / "kept/embeddings.scp")) == {"a", "day_1-b", "cut"}
    assert main([*arguments, str(tmp_path / "apart"), "--skip-bad", "--channel", "separate"]) == 0
    apart = read_vectors(tmp_path / "apart/embeddings.scp")
    assert {"a_ch0", "a_ch1", "day_1-b"} <= apart.keys()
    assert not np.allclose(apart["a_ch0"], apart["a_ch1"])


def test_standard_input(recordings_folder: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        with open(recordings_folder / "a.wav", "rb") as stdin:
            return subprocess.run(
                [sys.executable, "-m", "sdpn.cli.main", *arguments],
                stdin=stdin,
                capture_output=True,
                text=True,
            )

    assert run("extract", "-", "--precision", "fp32", "--out", str(tmp_path / "piped")).returncode == 0
    assert (
        main(
            [
                "extract",
                str(recordings_folder / "a.wav"),
                "--precision",
                "fp32",
                "--out",
                str(tmp_path / "file"),
            ]
        )
        == 0
    )
    piped, file = (read_vectors(tmp_path / name / "embeddings.scp") for name in ("piped", "file"))
    np.testing.assert_array_equal(piped["stdin"], file["a"])
    compared = run("compare", "--cosine", str(recordings_folder / "a.wav"), "-")
    assert "score      1.0000" in compared.stdout
    assert run("compare", "-", "-").returncode == 2
