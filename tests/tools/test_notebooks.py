"""The notebook for Colab, in a kernel of its own, without a display."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import sdpn
from tests.conftest import ROOT
from tests.service.conftest import talk

NOTEBOOK = ROOT / "docs/notebooks/your_recording.ipynb"

#: Stands for Colab's own module, which is nowhere else.
_COLAB = """
import shutil

def upload():
    shutil.copy("elsewhere/a <b> call.wav", ".")
    return {"a <b> call.wav": b""}

def download(path):
    shutil.copy(path, "downloaded.zip")
"""


def executed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Run every cell in a folder; returns what they print, and what they show as HTML."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(folder / "modules")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs: list[dict[str, Any]] = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert all("is unlike the recordings that confidence" in text for text in said), said  # made-up voices
    printed = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    shown = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert len(shown) == 2
    return printed, "".join(shown)


@pytest.mark.slow
def test_on_colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDPN_RECORDING", raising=False)
    (tmp_path / "modules/google/colab").mkdir(parents=True)
    (tmp_path / "modules/google/colab/files.py").write_text(_COLAB)
    (tmp_path / "elsewhere").mkdir()
    talk(tmp_path / "elsewhere/a <b> call.wav", 12.0)
    printed, shown = executed(tmp_path, monkeypatch)
    with zipfile.ZipFile(tmp_path / "downloaded.zip") as archive:
        assert {Path(name).suffix for name in archive.namelist()} >= {".rttm", ".json", ".srt", ".html"}
    assert ".rttm" in printed and "<b> call" not in shown


@pytest.mark.slow
def test_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = talk(tmp_path / "talk.wav", 12.0)
    monkeypatch.setenv("SDPN_RECORDING", str(recording))
    printed, shown = executed(tmp_path, monkeypatch)
    assert "talk.html talk.json talk.rttm talk.srt" in printed
    turns = sdpn.Diarizer(sdpn.load_model())(recording)  # how many of made-up voices is the model's affair
    assert shown.count("<rect") == len(list(turns.itertracks())) > 0
    assert "<iframe srcdoc=" in shown


def test_it_is_stored_without_results() -> None:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.from_dict(document))
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert not re.search(r"/(home|work|tmp)/", NOTEBOOK.read_text())
