"""Strict configuration: every fault names its place and the nearest key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sdpn.config import from_dict, load_config, to_dict
from sdpn.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A section."""

    rate: float = 1.0
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (1, 2)
    span: tuple[float, float] = (0.0, 1.0)
    folder: Path | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.rate <= 0:
            raise ValueError("rate must be positive")


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A configuration."""

    inner: Inner = field(default_factory=Inner)
    steps: int = 10
    fast: bool = False


def test_defaults_file_and_overrides_in_that_order(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("steps: 20\ninner:\n  rate: 2\n  sizes: [3]\n")
    config = load_config(Outer, file, ["steps=30", "inner.rate=1e-3", "inner.folder=a b/c", "fast=true"])
    assert config == Outer(steps=30, fast=True, inner=Inner(rate=1e-3, sizes=(3,), folder=Path("a b/c")))
    assert load_config(Outer) == Outer()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("steps: 1\ninner:\n  rat: 2\n", 3, ["unknown key 'inner.rat'", "did you mean 'inner.rate'"]),
        ("setps: 1\n", 1, ["unknown key 'setps'", "'steps'"]),
        ("steps: 1.5\n", 1, ["'steps' is 1.5", "int"]),
        ("steps: true\n", 1, ["'steps' is True", "int"]),
        ("fast: 1\n", 1, ["bool"]),
        ("inner: 3\n", 1, ["'inner' is a section"]),
        ("steps:\n  a: 1\n", 2, ["'steps' is a value"]),
        ("inner:\n  kind: c\n", 2, ["'a', 'b'"]),
        ("inner:\n  span: [1]\n", 2, ["needs 2 values"]),
        ("inner:\n  rate: -1\n", 2, ["rate must be positive"]),
        ("steps: 1\nsteps: 2\n", 2, ["second time"]),
        ("- a\n", 1, ["key: value"]),
        ("a: [\n", 2, ["not valid YAML"]),
    ],
)
def test_faults_name_file_line_and_remedy(tmp_path: Path, text: str, line: int, words: list[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(Outer, file)
    assert (caught.value.path, caught.value.line) == (str(file), line)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("override", ["steps", "=3", "steps.x=1", "inner.rat=1", "steps=x"])
def test_bad_overrides(override: str) -> None:
    with pytest.raises(InputError):
        load_config(Outer, None, ["steps=1", override])


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_config(Outer, tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        load_config(Outer, tmp_path / "b.yaml")


@given(
    rate=st.floats(min_value=1e-6, max_value=1e6),
    sizes=st.lists(st.integers(), max_size=4).map(tuple),
    steps=st.integers(),
)
def test_what_is_written_reads_back(rate: float, sizes: tuple[int, ...], steps: int) -> None:
    config = Outer(inner=Inner(rate=rate, sizes=sizes), steps=steps)
    assert from_dict(Outer, yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config


@given(st.text(max_size=60))
def test_any_text_gives_a_configuration_or_a_clear_error(text: str) -> None:
    try:
        load_config(Outer, None, [text])
    except InputError as error:
        assert str(error)


def test_every_shipped_configuration_loads() -> None:
    from sdpn.training.config import RunConfig
    from sdpn.training.finetune_config import FinetuneConfig

    shipped = sorted((Path(__file__).parent.parent / "conf").glob("*.yaml"))
    assert shipped
    for file in shipped:
        load_config(FinetuneConfig if file.name.startswith("finetune") else RunConfig, file)


@dataclass(frozen=True, kw_only=True)
class Required:
    """What has no default."""

    model: str
    size: int
    speed: float = 1.0


@pytest.mark.parametrize(("values", "key"), [({}, "model"), ({"model": "m"}, "size"), ({"size": 3}, "model")])
def test_a_missing_key_is_named(values: dict[str, Any], key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"lacks the key '{key}'") as caught:
        from_dict(Required, values, path=tmp_path / "settings.json")
    assert caught.value.path == str(tmp_path / "settings.json")
    assert from_dict(Required, {"model": "m", "size": 3}) == Required(model="m", size=3)


def test_a_file_builds_on_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("steps: 1\ninner:\n  rate: 2.0\n  sizes: [4]\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.yaml").write_text("base: ../a.yaml\nfast: true\ninner:\n  rate: 3.0\n")
    (tmp_path / "c.yaml").write_text("base: sub/b.yaml\nsteps: 5\n")
    expected = Outer(steps=7, fast=True, inner=Inner(rate=3.0, sizes=(4,)))
    assert load_config(Outer, tmp_path / "c.yaml", ["steps=7"]) == expected
    (tmp_path / "sub/b.yaml").write_text("base: ../a.yaml\ninner:\n  rat: 3.0\n")
    with pytest.raises(InputError, match=r"b\.yaml:3: unknown key 'inner\.rat'"):
        load_config(Outer, tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: c.yaml\n", r"c\.yaml:1: builds on itself"),
        ("base: other.yaml\n", r"other\.yaml:1: builds on itself, by 'base: c\.yaml'"),
        ("steps: 1\nbase: nowhere.yaml\n", r"c\.yaml:2: builds on .*nowhere\.yaml, which is no file"),
        ("base: 3\n", r"c\.yaml:1: 'base' must name the file"),
        ("base:\n  a: 1\n", r"c\.yaml:2: 'base' must name the file"),
    ],
)
def test_a_base_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("base: c.yaml\n")
    with pytest.raises(InputError, match=message):
        load_config(Outer, tmp_path / "c.yaml")


def test_another_kind_leaves_the_settings_of_the_base_behind(tmp_path: Path) -> None:
    from sdpn.models.conformer import ConformerConfig
    from sdpn.training.config import RunConfig

    (tmp_path / "a.yaml").write_text("encoder:\n  kind: transformer\n  norm_first: true\n  num_blocks: 3\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nencoder:\n  kind: conformer\n  width: 64\n")
    (tmp_path / "c.yaml").write_text("base: b.yaml\nencoder:\n  num_blocks: 2\n")
    assert load_config(RunConfig, tmp_path / "c.yaml").encoder == ConformerConfig(width=64, num_blocks=2)
