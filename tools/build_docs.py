"""The documentation as a site in build/docs/html: ``python tools/build_docs.py``. Broken links are errors.

Pages of docs/ are read in two places, in the repository and in the site. Their links are written for the
first (``../sdpn/io/audio.py``). Here the pages are staged with their links rewritten for the second: READMEs
elsewhere in the repository become pages, and so does every source file that a page links to.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Options of Sphinx: a warning, such as a link that leads nowhere, fails the build.
SPHINX = ("--fail-on-warning", "--keep-going", "--quiet", "--builder", "html")
#: ``](target)`` of a Markdown link or picture that is no URL and no anchor of its own page.
_LINK = re.compile(r"\]\((?!#|[a-z]+:)([^)\s#]+)(#[^)\s]*)?\)")
_LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".json": "json", ".jsonl": "json"}
_PICTURES = {".png", ".svg"}


def main() -> int:
    """Stage the pages and build them; returns Sphinx's exit code."""
    parser = argparse.ArgumentParser(description="Build the documentation as a site.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="default: build/docs")
    out = parser.parse_args().out
    source = out / "source"
    shutil.rmtree(source, ignore_errors=True)
    stage(source)
    command = [sys.executable, "-m", "sphinx", *SPHINX, str(source), str(out / "html")]
    # the notebook is run where it is staged, and looks for the recipe that makes its voices
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "SDPN_ROOT": str(ROOT), "PYTHONPATH": path}
    return subprocess.run(command, check=False, env=environment).returncode


def stage(source: Path) -> None:
    """Write everything that the site is made of into ``source``."""
    shutil.copytree(ROOT / "docs", source / "docs")
    shutil.move(source / "docs" / "conf.py", source / "conf.py")
    shutil.move(source / "docs" / "index.md", source / "index.md")
    (source / "docs" / "commands.md").write_text(commands(), encoding="utf-8")
    todo = {page.relative_to(source).as_posix() for page in source.rglob("*.md")} | {
        "README.md",
        "CHANGELOG.md",
    }
    done: set[str] = set()
    while todo:
        name = todo.pop()
        done.add(name)
        page = source / name
        if not page.exists():
            page.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, page)
        todo |= _rewrite(page, name, source) - done


def _rewrite(page: Path, name: str, source: Path) -> set[str]:
    """Let the links of a page point at pages of the site; returns the Markdown files that they lead to."""
    pages: set[str] = set()

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), match[1]))
        original = ROOT / path
        if original.suffix == ".md" or not original.is_file() or (source / path).is_file():
            if original.is_file():
                pages.add(path)
            return match[0]  # a page, or something that is missing, which Sphinx reports
        if original.suffix in _PICTURES:
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, source / path)
            return match[0]
        listing = source / f"{path}.md"
        listing.parent.mkdir(parents=True, exist_ok=True)
        language = _LANGUAGES.get(original.suffix, "text")
        text = original.read_text(encoding="utf-8").rstrip()
        listing.write_text(
            f"---\norphan: true\n---\n\n# {path}\n\n````{language}\n{text}\n````\n", encoding="utf-8"
        )
        return f"]({match[1]}.md{match[2] or ''})"

    page.write_text(_LINK.sub(target, page.read_text(encoding="utf-8")), encoding="utf-8")
    return {path for path in pages if path.endswith(".md")}


def commands() -> str:
    """A page of every command's ``--help``."""
    from sdpn.cli.commands import COMMANDS

    parts = [f"# Commands\n\n```text\n{_help()}\n```"]
    parts += [f"## sdpn {command}\n\n```text\n{_help(command)}\n```" for command in COMMANDS]
    return "\n\n".join(parts) + "\n"


def _help(*command: str) -> str:
    from sdpn.cli.main import main as sdpn

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        sdpn([*command, "--help"])
    return printed.getvalue().rstrip()


if __name__ == "__main__":
    sys.exit(main())
