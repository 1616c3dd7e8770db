"""tools/build_docs.py: the site builds without a warning, and a broken link is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "build_docs.py"
spec = importlib.util.spec_from_file_location("build_docs", SCRIPT)
assert spec is not None
assert spec.loader is not None
build_docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_docs)

#: A page whose links lead to a section of another page, to a README elsewhere and to a source file.
PAGE = """# Page

[section](other.md#a-section), [readme](../part/README.md), [source](../part/code.py)
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of a few small pages."""
    pages = {
        "README.md": "# tiny\n\n[page](docs/page.md)\n",
        "CHANGELOG.md": "# Changelog\n",
        "CONTRIBUTING.md": "# Contributing\n",
        "docs/index.md": "# tiny\n\n```{toctree}\n:glob:\n\nREADME\nCHANGELOG\ndocs/*\npart/README\n```\n",
        "docs/conf.py": 'extensions = ["myst_parser"]\nmyst_heading_anchors = 3\n',
        "docs/links.md": PAGE,
        "docs/page.md": "# Page\n",
        "docs/other.md": "# Other\n\n## A section\n",
        "part/README.md": "# Part\n",
        "part/code.py": "answer = 42\n",
    }
    for name, text in pages.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(build_docs, "ROOT", tmp_path)
    return tmp_path


def build(source: Path) -> subprocess.CompletedProcess[str]:
    """Sphinx as the tool calls it."""
    command = [sys.executable, "-m", "sphinx", *build_docs.SPHINX, str(source), str(source.parent / "html")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.usefixtures("checkout")
def test_links_between_pages_readmes_and_sources_work(tmp_path: Path) -> None:
    build_docs.stage(tmp_path / "source")
    done = build(tmp_path / "source")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "html/docs/links.html").read_text()
    for target in ("other.html#a-section", "../part/README.html", "../part/code.py.html"):
        assert f'href="{target}"' in page
    assert "answer" in (tmp_path / "html/part/code.py.html").read_text()
    assert "sdpn diarize" in (tmp_path / "html/docs/commands.html").read_text()


def test_broken_links_are_named_and_fail(checkout: Path, tmp_path: Path) -> None:
    broken = ["missing.md", "other.md#no-such-section", "#nor-this", "../part/missing.py"]
    (checkout / "docs/page.md").write_text("# Page\n\n" + "\n".join(f"[link]({link})" for link in broken))
    build_docs.stage(tmp_path / "source")
    done = build(tmp_path / "source")
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if "WARNING:" in line]
    assert len(warnings) == len(broken)
    targets = ("missing.md", "no-such-section", "nor-this", "missing.py")
    for line, target in zip(warnings, targets, strict=True):
        assert "docs/page.md" in line and target in line


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """The notebook runs, and every link, docstring and example of the pages is read."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    warnings = [line for line in done.stderr.splitlines() if "WARNING:" in line]
    assert (done.returncode, warnings) == (0, [])
    for page in ROOT.glob("docs/*.md"):
        name = "index" if page.stem == "index" else f"docs/{page.stem}"
        assert (tmp_path / f"html/{name}.html").is_file(), page
    assert "DER" in (tmp_path / "html/docs/notebooks/who_spoke_when.html").read_text()
    assert "positive relevance" in (tmp_path / "html/docs/notebooks/what_it_hears.html").read_text()
    assert "<rect x=" in (tmp_path / "html/docs/notebooks/your_recording.html").read_text()
    assert "sdpn.load_model" in (tmp_path / "html/docs/api.html").read_text()
