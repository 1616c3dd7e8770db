"""Files that were seen to raise, hang or run code; each stands for its kind."""

from __future__ import annotations

import contextlib
import json
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdpn.errors import InputError
from sdpn.io.arrays import read_npz
from sdpn.io.checksum import file_sha256
from sdpn.io.json_text import parse_json, read_json
from sdpn.io.text import is_file_name, is_id, read_text
from sdpn.io.yaml_text import parse_yaml, read_yaml
from tests.hostile.readers import READERS
from tests.hostile.test_any_bytes import bounded

#: Nine lines of which each stands nine times for the one before: a billion laughs.
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))

YAML = {
    "a date": ("training: {steps: 2001-13-45}", "'training.steps' is '2001-13-45'; expected int"),
    "no int": ("training: {steps: !!int z}", "'z' is not of type int"),
    "depth": ("[" * 5000, "nested deeper than 50 levels"),
    "itself": ("&x {<<: *x}", "refers to itself"),
    "a list of itself": ("a: &x [*x]", "refers to itself"),
    "laughs": (LAUGHS, "expands to more than 20000 values"),
    "merged laughs": (
        "a: &a {x: 1}\n" + "".join(f"k{n}: &k{n} {{<<: [{', '.join(['*a'] * 99)}]}}\n" for n in range(99)),
        "",
    ),
    "twice": ("objective: sdpn\nobjective: dino", "key 'objective' occurs a second time"),
    "tab": ("training:\n\tsteps: 3", "cannot start any token"),
    "utf-16": ("objective: sdpn".encode("utf-16"), "is not UTF-8 text"),
    "NUL": (b"objective: sd\0pn", "control character"),
    "escaped NUL": (r'objective: "sd\0pn"', "NUL"),
    "half a character": (r'objective: "\ud800"', "surrogate"),
    "digits": (f"training: {{steps: {'9' * 400}}}", "has more than 128 bits"),
    "many digits": (f"training: {{steps: {'9' * 5000}}}", "is not of type int"),
    "not finite": ("optimizer: {lr: .nan}", "is not finite"),
    "Python": ("objective: !!python/object/apply:os.system [touch RAN]", "could not determine a constructor"),
    "a set": ("training: !!set {a, b}", ""),
    "bytes": ("objective: !!binary aGk=", "could not determine a constructor"),
    "size": ("a: " + "b" * 300_000, "characters"),
    "several": ("a: 1\n---\nb: 2", "found another document"),
    "keys": ("? [a, b]\n: 1", ""),
}


@pytest.mark.parametrize("name", YAML)
def test_yaml_is_refused_with_its_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, message = YAML[name]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (READERS["configuration"].read, read_yaml, READERS["speechbrain-config"].read):
        started = time.process_time()
        with bounded(), pytest.raises(InputError) as caught:
            read(path)
            raise InputError(message)  # plain values may be what settings may not
        assert time.process_time() - started < 5
        if read is READERS["configuration"].read:
            assert message in str(caught.value)
    assert not (tmp_path / "RAN").exists()


def test_yaml_numbers_and_texts_are_what_people_mean() -> None:
    text = "{a: 1e5, b: 1E-3, c: -2e+1, d: .5e1, e: 1_000, f: '1e5', g: 2001-01-01, h: 1.5, i: e5, j: 12e}"
    assert parse_yaml(text, path=None) == {
        "a": 1e5,
        "b": 1e-3,
        "c": -20.0,
        "d": 5.0,
        "e": 1000,
        "f": "1e5",
        "g": "2001-01-01",
        "h": 1.5,
        "i": "e5",
        "j": "12e",
    }
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", path=None)["b"] == {"x": 1, "y": 3}


def test_settings_support_merges_byte_order_marks_and_exponents(tmp_path: Path) -> None:
    from sdpn.training.config import RunConfig, load_run_config

    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfoptimizer: &o {lr: 2e-3}\n")
    assert load_run_config(path, []).optimizer.lr == 2e-3
    assert load_run_config(None, ["optimizer.lr=1e-4"]).optimizer.lr == 1e-4
    assert isinstance(load_run_config(path, []), RunConfig)


JSON = {
    "a list": ("[]", "expected an object, {…}"),
    "null": ("null", "expected an object, {…}"),
    "NaN": ("NaN", "NaN is not JSON"),
    "NaN within": ('{"a": [NaN]}', "NaN is not JSON"),
    "infinite": ('{"a": 1e999}', "is not finite"),
    "depth": ("[" * 100_000, "nested too deeply"),
    "some depth": ('{"a":' * 200 + "1" + "}" * 200, "nested deeper than 100 levels"),
    "digits": (f'{{"a": {"9" * 400}}}', "has more than 128 bits"),
    "many digits": (f'{{"a": {"9" * 5000}}}', "is not a valid document"),
    "half a character": (r'{"a": "\ud800"}', "surrogate"),
    "half a key": (r'{"\udfff": 1}', "surrogate"),
    "NUL": (r'{"a": ["\u0000"]}', "NUL"),
    "twice": ('{"a": 1, "b": {"a": 2, "a": 3}}', "'a' occurs twice"),
    "cut": ('{"a": 1', "not JSON"),
    "bytes": (b'{"a": "\xff"}', "is not UTF-8"),
}


@pytest.mark.parametrize("name", JSON)
def test_json_is_refused(name: str, tmp_path: Path) -> None:
    content, message = JSON[name]
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with bounded(), pytest.raises(InputError) as caught:
        read_json(path, "document", hint="write it again")
    assert message in str(caught.value) and str(caught.value).startswith(f"{path}:")


def test_whole_characters_and_large_numbers_are_json() -> None:
    text = json.dumps({"a": "😀", "rng": 2**127, "b": [1.5, -3, True, None]})
    assert "\\ud83d" in text
    assert parse_json(text, "document", path=None) == json.loads(text)


class Bomb:
    """What a stranger would have pickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if not reader.text])
def test_no_pickle_is_loaded(name: str, tmp_path: Path) -> None:
    """Pickles as they are, in torch's and in NumPy's files, under the names of every binary format."""
    reader, mark = READERS[name], tmp_path / "RAN"
    bomb = Bomb(mark)
    wrapped = tmp_path / "wrapped"
    contents = [pickle.dumps(bomb), pickle.dumps({"encoder.x": bomb})]
    torch.save({"teacher": bomb, "a": torch.zeros(1)}, wrapped)
    contents.append(wrapped.read_bytes())
    torch.save(bomb, wrapped, _use_new_zipfile_serialization=False)
    contents.append(wrapped.read_bytes())
    rows: Any = np.array([bomb], dtype=object)
    with open(wrapped, "wb") as stream:
        np.save(stream, rows, allow_pickle=True)
    contents.append(wrapped.read_bytes())
    with open(wrapped, "wb") as stream:
        np.savez(
            stream, **dict.fromkeys(("centres", "mean", "scale", "meta", "header", "mean1", "lda"), rows)
        )
    contents.append(wrapped.read_bytes())
    folder = tmp_path / "tried"
    folder.mkdir()
    path = reader.make(folder)
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError):
            reader.read(path)
            raise InputError("what is left of an archive is a shorter archive")
    assert not mark.exists()


def test_archives_of_arrays_take_no_more_memory_than_they_say(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"

    def header(shape: str) -> bytes:
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()

    for content in (
        header("(1000000000000,)"),
        header("(1" + ",1" * 5000 + ")"),
        header("(("),
        header("(-1,)"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mean1.npy", content + bytes(64))
        with bounded(), pytest.raises(InputError):
            READERS["transform"].read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("lda.npy", "w") as stream:
        stream.write(header("(16777216,)"))
        for _ in range(128):
            stream.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with bounded(), pytest.raises(ValueError, match="expands from"):
        read_npz(path)
    np.savez_compressed(path, a=np.arange(12.0).reshape(3, 4, order="F"), b=np.float32(3))
    read = read_npz(path)
    assert read["a"].tolist() == np.arange(12.0).reshape(3, 4, order="F").tolist() and read["b"] == 3


def test_a_configuration_of_giants_takes_no_memory(tmp_path: Path) -> None:
    reader = READERS["model-config"]
    path = reader.make(tmp_path)
    text = path.read_text()
    for key in ("channels: 16", "aggregation_channels: 24", "num_mels: 8", "embedding_dim: 4"):
        assert key in text
        path.write_text(text.replace(key, f"{key.split()[0]} 1000000000000"))
        with bounded(), pytest.raises(InputError):
            reader.read(path)


def test_graphs_do_not_reach_out_of_their_folder(tmp_path: Path) -> None:
    import onnx

    folder = tmp_path / "below"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 4096)
    path = READERS["graph"].make(folder)
    graph = onnx.load(path)
    for location in ("../secret", str(secret)):
        weight = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        weight.ClearField("raw_data")
        weight.ClearField("external_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", location
        path.write_bytes(graph.SerializeToString())
        with pytest.raises(InputError):
            READERS["graph"].read(path)


@pytest.mark.parametrize("rubbish", [None, [], "text", 3, {}, {"a": torch.zeros(2)}, [torch.zeros(0)], True])
def test_rubbish_under_right_keys_is_no_checkpoint(rubbish: Any, tmp_path: Path) -> None:
    """With a right checksum, so that nothing but the contents is wrong."""
    reader = READERS["checkpoint-state"]
    path = reader.make(tmp_path)
    whole = torch.load(path)
    for section, key in (
        *(("", key) for key in whole),
        *(("tracking", key) for key in whole["tracking"]),
        ("model", "prototypes"),
    ):
        state = {**whole, "tracking": dict(whole["tracking"]), "model": dict(whole["model"])}
        (state[section] if section else state)[key] = rubbish
        torch.save(state, path)
        meta = {"sha256": file_sha256(path), "configuration": {"training": rubbish, "crops": rubbish}}
        path.with_name("meta.json").write_text(json.dumps(meta, default=str))
        with contextlib.suppress(InputError):
            reader.read(path)
    torch.save(rubbish, path.with_name("x.pth"))
    with pytest.raises(InputError):
        READERS["foreign-checkpoint"].read(path.with_name("x.pth"))


def test_text_has_no_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for control in "\0\x1b\x7f\x9b\x08":
        path.write_text(f"u1 a.wav\nu2{control}x b.wav\n")
        with pytest.raises(InputError) as caught:
            read_text(path)
        assert caught.value.line == 2 and control not in str(caught.value)
    path.write_text("\ufeffu1\ta b\x0c.wav\r\nü\x85\n")
    assert read_text(path) == "u1\ta b\x0c.wav\nü\x85\n"


def test_ids_that_are_names_of_files() -> None:
    assert is_id("id10270/x6uYqmx31kE/00001.wav") and not is_file_name("id10270/x6uYqmx31kE/00001.wav")
    for name in ("", ".", "..", "a/b", "../a", "/a", "a b", "a\0b", "a\x1b[2J", "\ud800", "a\nb", "\ufeffa"):
        assert not is_file_name(name)
    assert all(map(is_file_name, ("a", "a.b", "…", "日本", "a|b", "<script>", "-rf")))


#: Ids that RTTM allows; rendered as Markdown or HTML each must be itself and nothing else.
IDS = [
    *("a|b", "`code`", "<script>alert(1)</script>", "**bold**", "_low_", "[x](javascript:alert(1))", "a_b_c"),
    *(
        "![x](http://example.org)",
        "&lt;",
        "a\\",
        "\\|",
        "~~s~~",
        '"><img/src=x/onerror=alert(1)>',
        "${x}",
        "{{x}}",
    ),
]


@pytest.mark.parametrize("name", IDS)
def test_ids_are_themselves_in_markdown(name: str) -> None:
    """As CommonMark with tables, which is what GitHub shows, reads it."""
    from markdown_it import MarkdownIt

    from sdpn.cli.table import escape_markdown, format_markdown

    text = format_markdown(["recording", name], [[name, "1.0"]]) + "\n\n" + escape_markdown(f"See {name}.")
    tokens = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(text)
    cells = ["".join(part.content for part in token.children) for token in tokens if token.children]
    assert cells == ["recording", name, name, "1.0", f"See {name}."]
    kinds = {part.type for token in tokens for part in token.children or []}
    assert kinds <= {"text", "text_special"}


def test_ids_are_themselves_in_the_report(tmp_path: Path) -> None:
    from html.parser import HTMLParser

    from sdpn.io.rttm import Turn, write_rttms
    from sdpn.report.experiment import read_experiment
    from sdpn.report.page import build_page

    path = READERS["result-score"].make(tmp_path)
    write_rttms(tmp_path / "m.rttm", [Turn(name, 0, 2, name) for name in IDS])
    document = json.loads(path.read_text())
    row = document["results"]["files"][0]
    document["results"]["files"] = [row | {"recording": name} for name in IDS]
    path.write_text(json.dumps(document))

    class Page(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[str] = []
            self.seen = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append(tag)
            assert not any(key.startswith("on") for key, _ in attrs), attrs
            self.seen += " ".join(value or "" for _, value in attrs)

        def handle_data(self, data: str) -> None:
            self.seen += data

    page = Page()
    page.feed(build_page(read_experiment(tmp_path)))
    assert page.tags.count("script") == 1 and "img" not in page.tags
    assert all(name in page.seen for name in IDS)
