"""One word, one meaning: no two public classes or functions share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import sdpn

ROOT = Path(sdpn.__file__).parent
Definition = type[ast.ClassDef] | type[ast.FunctionDef]

#: Functions that share a name on purpose, and why.
SHARED_FUNCTIONS = {
    "add_arguments": "every command of cli/ has one",
    "run": "every command of cli/ has one",
    "settings": "every command of cli/ with section.key=value settings has one",
    "only_reads": "commands of cli/ that with some options write nothing have one",
    "exit_code": "commands of cli/ whose exit code depends on their result have one",
    "shard_work": "commands of cli/ that have shards have one",
    "read": "called with its module: audio.read, kaldi_plda.read, and one for every format of interop/",
    "fits_file": "every format of interop/ has one",
    "fits_folder": "every format of interop/ has one",
    "save_model": "kmeans/compatibility.py keeps the names of SpeechBrain's k-means",
}


@cache
def _modules() -> dict[str, list[ast.stmt]]:
    """Statements at the top level of each module."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")).body
        for path in sorted(ROOT.rglob("*.py"))
    }


def _places(kind: Definition) -> dict[str, list[str]]:
    """Modules that define each public name at their top level."""
    places = defaultdict(list)
    for module, statements in _modules().items():
        for node in statements:
            if isinstance(node, kind) and not node.name.startswith("_"):
                places[node.name].append(module)
    return places


def _shared(kind: Definition) -> dict[str, list[str]]:
    """Names that several files define; the overloads of a function are one."""
    return {name: paths for name, paths in _places(kind).items() if len(set(paths)) > 1}


def test_no_two_public_classes_share_a_name() -> None:
    assert len(_places(ast.ClassDef)) > 100  # the search finds classes
    assert _shared(ast.ClassDef) == {}


def test_no_two_public_functions_share_a_name_without_a_reason() -> None:
    shared = _shared(ast.FunctionDef)
    assert {name: paths for name, paths in shared.items() if name not in SHARED_FUNCTIONS} == {}
    assert SHARED_FUNCTIONS.keys() <= shared.keys(), "remove reasons that are no longer needed"
