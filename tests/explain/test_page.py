"""The page: whole, escaped, and without errors in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sdpn.explain.explanations import write_explanation
from sdpn.explain.hearing import Hearing
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.page import ExplainPage, PageSection, PageTable
from sdpn.explain.utterance import explain_utterance, utterance_section
from sdpn.report.events import read_event_log
from tests.explain.conftest import voice

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _written(linear: ExplainedNetwork, folder: Path) -> Path:
    hearing = Hearing("<b>name</b>", voice(0, 1.0, 0), linear)
    found = explain_utterance(linear, hearing, methods=["cam", "occlusion"], thorough=True, layers=["frames"])
    maps = {one.method: one for one in found.maps}
    page = ExplainPage("<script>alert(1)</script>", [utterance_section(found)])
    return write_explanation(folder, page, maps=maps, tensorboard=folder / "tensorboard")


def test_a_page_is_self_contained_and_escapes_every_text(linear: ExplainedNetwork, tmp_path: Path) -> None:
    path = _written(linear, tmp_path)
    page = path.read_text()
    assert "<script" not in page and "<b>name" not in page
    for link in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert link.startswith(("data:", "#"))
    assert page.count("<img") == 2 and page.count("<audio") == 2
    stored = np.load(tmp_path / "maps.npz")
    assert stored["cam"].shape[0] == 1 and stored["occlusion"].shape[0] == 80
    assert stored["cam.hop_s"] == 0.01
    assert len(read_event_log(tmp_path / "tensorboard").pictures) == 2


def test_tables_and_warnings() -> None:
    section = PageSection("s", ["note"], [PageTable("t", ["a", "b"], [["x&y", "1"]])], warnings=["careful"])
    page = ExplainPage("p", [section], [("next", "next page.html")]).html()
    assert "x&amp;y" in page and 'class="warning">careful' in page and 'href="next%20page.html"' in page


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_opens_without_console_errors(linear: ExplainedNetwork, tmp_path: Path) -> None:
    path = _written(linear, tmp_path)
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "relevant parts louder" in done.stdout
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
