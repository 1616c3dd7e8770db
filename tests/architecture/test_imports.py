"""The house rules of CONTRIBUTING.md, read from the source: which way imports run, and who may do what.

Imports inside functions and under ``TYPE_CHECKING`` count like any other: they, too, tie modules together.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "sdpn"

#: From the ground up. A part imports from floors below its own, and stands on the lowest that allows it.
FLOORS = [
    {"errors", "memory", "progress", "stopping", "threads", "torchaudio_import"},
    {"eigen", "io"},
    {"config", "formats", "metrics", "pretrained", "verification"},
    {"augmentation", "clustering", "evaluation", "features", "words"},
    {"data", "diarization", "kmeans", "models", "simulation"},
    {"distill", "extraction", "interop", "people", "streaming", "tracking", "tuning"},
    {"batch", "benchmark", "explain", "linking", "receipt"},
    {"editing", "report", "training"},
    {"adaptation", "experiments", "service"},
    {"cli"},
    {"__main__"},
]
FLOOR = {part: height for height, floor in enumerate(FLOORS) for part in floor}

TORCH = {"torch", "torchaudio", "silero_vad", "tensorboard"}
#: Parts and commands that start in a blink.
TORCH_FREE = [
    "sdpn.io",
    "sdpn.clustering",
    "sdpn.diarization",
    "sdpn.evaluation",
    "sdpn.formats",
    "sdpn.kmeans",
    "sdpn.interop.graph_cache",
    "sdpn.metrics",
    "sdpn.models.graph_embedder",
    "sdpn.models.graph_segmenter",
    "sdpn.verification",
    "sdpn.words",
    "sdpn.cli.cluster",
    "sdpn.cli.kmeans",
    "sdpn.cli.main",
    "sdpn.cli.score",
    "sdpn.cli.verify",
    "sdpn.cli.words",
]

#: Doors that are opened when a network is given, and not before: (who imports, what). That the commands do
#: without torch until then, tests/cli/test_kmeans.py shows.
GIVEN_A_NETWORK = {
    ("sdpn.kmeans.compatibility", "sdpn.kmeans.layer_features"),
    ("sdpn.cli.layer_arguments", "sdpn.extraction.layer_chunks"),
    ("sdpn.cli.layer_arguments", "sdpn.cli.model_arguments"),
    ("sdpn.cli.model_arguments", "sdpn.interop.load"),
    ("sdpn.cli.model_arguments", "sdpn.models.device"),
    # where no graph is given
    ("sdpn.diarization.vad", "sdpn.diarization.silero"),
    # for the names of types alone
    ("sdpn.cli.kmeans", "sdpn.extraction.layer_chunks"),
    ("sdpn.cli.model_arguments", "sdpn.models.embedder"),
}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in FILES}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported_names(source: ast.Module) -> set[str]:
    """Everything that is imported anywhere in a file: 'from a import b' gives 'a' and 'a.b'."""
    names: set[str] = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno} imports relatively; write the whole name"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def imports(module: str) -> frozenset[str]:
    return frozenset(imported_names(tree(module)))


def part_of(module: str) -> str:
    """The part of the house a module belongs to: 'sdpn.io.audio' is of 'io', 'sdpn' of ''."""
    return module.partition(".")[2].partition(".")[0]


def imported_modules(module: str) -> set[str]:
    """The package's modules that ``module`` imports by name, itself and the public face excepted."""
    return {name for name in imports(module) if name in MODULES} - {module, "sdpn"}


def test_every_part_has_its_floor() -> None:
    parts = {part_of(module) for module in MODULES} - {""}
    assert parts == FLOOR.keys(), f"FLOORS and CONTRIBUTING.md are behind: {sorted(parts ^ FLOOR.keys())}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_downward(module: str) -> None:
    if module == "sdpn":
        return  # the public face resolves its names lazily
    part = part_of(module)
    others = {name for name in imported_modules(module) if part_of(name) != part}
    upward = {name for name in others if FLOOR[part_of(name)] >= FLOOR[part]}
    assert not upward, f"{module} imports from its own floor or above: {sorted(upward)}"
    if part != "cli":
        faces = {name for name in imports(module) if name in ("sdpn.load_model", "sdpn.Diarizer")}
        assert not faces, f"{module} imports the public face, which lies above it: {sorted(faces)}"


@pytest.mark.parametrize("part", sorted(FLOOR))
def test_no_part_stands_higher_than_it_must(part: str) -> None:
    below = {
        part_of(name) for module in MODULES if part_of(module) == part for name in imported_modules(module)
    }
    assert FLOOR[part] == max((FLOOR[other] + 1 for other in below - {part}), default=0)


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    remaining = {module: imported_modules(module) for module in MODULES if module != "sdpn"}
    while remaining:  # take away what imports nothing that remains, until all or only circles are left
        ground = [module for module, others in remaining.items() if not others & remaining.keys()]
        assert ground, f"modules import each other in a circle: {sorted(remaining)}"
        for module in ground:
            del remaining[module]


def test_the_diarizer_imports_no_model() -> None:
    for module in MODULES:
        if part_of(module) == "diarization":
            known = {name for name in imported_modules(module) if part_of(name) in ("models", "distill")}
            assert not known, f"{module} receives an object with embed_windows; it imports {sorted(known)}"


@pytest.mark.parametrize("root", TORCH_FREE)
def test_light_parts_reach_no_torch(root: str) -> None:
    behind_a_door = {module for _, module in GIVEN_A_NETWORK}
    todo = [module for module in MODULES if module == root or module.startswith(f"{root}.")]
    todo = [module for module in todo if module not in behind_a_door]
    assert todo
    reached: set[str] = set()
    while todo:
        module = todo.pop()
        if module in reached:
            continue
        reached.add(module)
        heavy = {name for name in imports(module) if name.partition(".")[0] in TORCH}
        assert not heavy, f"{root} reaches {module}, which imports {sorted(heavy)}"
        todo += [name for name in imported_modules(module) if (module, name) not in GIVEN_A_NETWORK]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_command_line_prints_and_parses_arguments(module: str) -> None:
    if part_of(module) == "cli":
        return
    assert "argparse" not in imports(module), f"{module} imports argparse; options belong to sdpn/cli"
    lines = [
        node.lineno
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not lines, f"{module} prints on lines {lines}; return the text, or log it"


def test_the_command_line_holds_no_arithmetic() -> None:
    """What computes with arrays belongs to a part of the library."""
    for module in MODULES:
        if part_of(module) == "cli":
            arrays = {
                name for name in imports(module) if name.partition(".")[0] in ("numpy", "scipy", "sklearn")
            }
            assert not arrays, f"{module} imports {sorted(arrays)}; the library has to do the work"


def test_file_names_say_what_is_inside() -> None:
    nameless = {"utils", "util", "misc", "common", "helpers"}
    bad = [file.name for file in FILES if file.stem in nameless or file.stem.rpartition("_v")[2].isdecimal()]
    assert not bad


def test_each_command_has_its_file() -> None:
    from sdpn.cli.commands import COMMANDS

    assert {f"sdpn.cli.{name}".replace("-", "_") for name in COMMANDS} <= MODULES.keys()


def test_imports_in_functions_and_for_type_checking_are_seen() -> None:
    source = "def f():\n    import torch.nn as nn\nif TYPE_CHECKING:\n    from sdpn.models import ecapa\n"
    assert imported_names(ast.parse(source)) == {"torch.nn", "sdpn.models", "sdpn.models.ecapa"}
    with pytest.raises(AssertionError, match="line 1 imports relatively"):
        imported_names(ast.parse("from .ecapa import ECAPA"))
