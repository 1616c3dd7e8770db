"""egs/voxceleb/run.sh on a corpus of the same layout and file names."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import download
import numpy as np
import onnxruntime
import prepare_voxceleb
import pytest
import voxceleb_results

from sdpn.config import load_config
from sdpn.io.kaldi import read_data_dir
from sdpn.io.trials import read_trials
from sdpn.training.config import RunConfig
from tests.conftest import ROOT, TINY
from tests.recipes.running import run_recipe, stages
from tests.recipes.voxceleb_corpus import VOX1, VOX2, write_voxceleb

RECIPE = ROOT / "egs/voxceleb"


def recipe(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run it."""
    return run_recipe("voxceleb/run.sh", *args, timeout_s=560, code=code)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voxceleb(tmp_path_factory.mktemp("vox celeb") / "corpora")


@pytest.fixture
def corpora(written: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(written, tmp_path / "corpora"))


def of_copy(folder: Path) -> list[str]:
    """Options that name the copy."""
    options = [
        "--vox1",
        str(folder / "vox1"),
        "--vox2",
        str(folder / "vox2"),
        "--trials",
        str(folder / "trials"),
    ]
    return [*options, "--musan", str(folder / "musan"), "--rirs", str(folder / "RIRS_NOISES")]


def prepare(folder: Path, *options: str) -> int:
    return prepare_voxceleb.main(["--out", str(folder.parent / "data"), *of_copy(folder), *options])


def test_data_stages(written: Path, tmp_path: Path) -> None:
    given = [*of_copy(written), "--exp", str(tmp_path / "exp"), "--no_counts", "--pack", "--stop_stage", "2"]
    assert stages(recipe(*given), "done") == ["1", "2"]
    data = tmp_path / "exp/data"
    train = read_data_dir(data / "train")
    assert [utterance.id for utterance in train[:2]] == [
        "id00012--2v-xY_z012-00001",
        "id00012--2v-xY_z012-00023",
    ]
    assert len(train) == 16 and {utterance.speaker for utterance in train} == set(VOX2)
    assert all(
        abs(utterance.num_samples() - 20000) <= 1024 for utterance in train
    )  # a frame of AAC at the end
    vox1 = {utterance.id: utterance.speaker for utterance in read_data_dir(data / "vox1")}
    assert set(vox1.values()) == {*VOX1["dev"], *VOX1["test"]} and len(vox1) == 20
    for name, pairs in (("O", 8 * 7 // 2), ("E", 20 * 19 // 2), ("H", 12 * 11 // 2)):
        trials = read_trials(data / "vox1" / f"trials_{name}")
        assert len(trials) == pairs and set(trials.ids) <= vox1.keys()
        same = [
            vox1[trials.ids[a]] == vox1[trials.ids[b]]
            for a, b in zip(trials.first, trials.second, strict=True)
        ]
        assert same == trials.is_target.tolist()
    assert [len(read_data_dir(data / kind)) for kind in ("noise", "music", "rir")] == [1, 1, 1]
    packed = read_data_dir(tmp_path / "exp/pack")
    np.testing.assert_array_equal(packed[5].read(), train[5].read())
    assert stages(recipe(*given), "up to date") == ["1", "2"]


@pytest.mark.slow
def test_every_stage(written: Path, tmp_path: Path) -> None:
    given = [
        *of_copy(written),
        "--exp",
        str(tmp_path / "exp"),
        "--no_counts",
        "--cohort",
        "9",
        "--average",
        "2",
        "--jobs",
        "2",
    ]
    small = [*TINY, "training.steps=2", "training.workers=0", "training.checkpoint_every=1"]
    of_model = [setting for setting in small if not setting.startswith("encoder.")]
    for option, settings in (("--set", small), ("--pseudo_set", of_model), ("--distill_set", small)):
        for setting in settings:
            given += [option, setting]
    for setting in ("distill.num_prototypes=8", "crops.longest_local_s=0.5"):
        given += ["--distill_set", setting]
    given += ["--set", "encoder.res2_scale=4", "--set", "head.num_hidden=1"]
    run = recipe(*given)
    assert stages(run, "done") == ["1", "3", "4", "5", "6", "7", "8", "9"]
    for system in ("sdpn", "averaged", "pseudo", "distilled"):
        graph = onnxruntime.InferenceSession(tmp_path / f"exp/onnx/{system}.onnx")
        wave = np.zeros((1, 16000), np.float32)
        assert np.isfinite(graph.run(None, {graph.get_inputs()[0].name: wave})[0]).all()
        for trials, (targets, others) in {"O": (12, 16), "E": (30, 160), "H": (18, 48)}.items():
            for ending in ("", "-as-norm"):
                path = tmp_path / f"exp/results/verify.{system}-{trials}{ending}.json"
                found = json.loads(path.read_text())["results"]
                assert (found["num_target"], found["num_nontarget"]) == (targets, others)
                cell = f"{100 * found['eer']:.2f} ["
                assert cell in (tmp_path / "exp/RESULTS.md").read_text()
    assert "| SDPN of the paper | cosine | 1.80 | 1.99 | 3.62 |" in run.stdout and "Seed 0." in run.stdout
    again = recipe(*given)
    assert stages(again, "done") == []


#: What is spoilt, and what is said about it.
SPOILT = {
    "a missing part": (lambda at: shutil.rmtree(at / "vox1/test"), "vox1 test is missing: no such folder"),
    "another layout": (
        lambda at: (at / "vox2/dev/aac").rename(at / "vox2/dev/x"),
        "is not a speaker's folder",
    ),
    "two kinds": (lambda at: (at / "vox2/dev/wav").mkdir(), "dev is there as wav and aac"),
    "an empty file": (
        lambda at: (at / "vox2/dev/aac/id00015/21Uxsk56VDQ/00001.m4a").write_bytes(b""),
        "id00015/21Uxsk56VDQ/00001.m4a: is empty",
    ),
    "a truncated m4a": (
        lambda at: cut(at / "vox2/dev/aac/id00015/21Uxsk56VDQ/00001.m4a"),
        "id00015/21Uxsk56VDQ/00001.m4a: ",
    ),
    "a truncated wav": (
        lambda at: cut(at / "vox1/test/wav/id10270/21Uxsk56VDQ/00001.wav"),
        "id10270/21Uxsk56VDQ/00001.wav: ",
    ),
    "one speaker twice": (
        lambda at: shutil.copytree(at / "vox2/dev/aac/id00012", at / "vox1/dev/wav/id00012"),
        "speaker id00012 is also in",
    ),
    "one id twice": (
        lambda at: shutil.copy(
            at / "vox1/dev/wav/id10001/21Uxsk56VDQ/00001.wav",
            at / "vox1/dev/wav/id10001/21Uxsk56VDQ/00001.flac",
        ),
        "has the id 'id10001-21Uxsk56VDQ-00001', which",
    ),
    "a trial without speech": (
        lambda at: shutil.rmtree(at / "vox1/dev/wav/id10001/21Uxsk56VDQ"),
        "2 of the 20 utterances are not in VoxCeleb1, such as 'id10001/21Uxsk56VDQ/00001.wav'",
    ),
    "no list": (lambda at: (at / "trials/list_test_hard2.txt").unlink(), "list_test_hard2.txt: no such file"),
}


def cut(path: Path) -> None:
    """Keep two thirds of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_corpus_is_refused_and_leaves_nothing(
    corpora: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, message = SPOILT[what]
    spoil(corpora)
    assert prepare(corpora, "--no_counts") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("prepare_voxceleb.py: error: ") and message in error
    assert [path.name for path in corpora.parent.iterdir()] == ["corpora"]


def test_counts_are_those_of_the_corpora(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(written) == 2
    assert (
        "vox2 dev has 4 speakers and 16 utterances, expected 5,994 and 1,092,009" in capsys.readouterr().err
    )


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files or the rest of them, and closes the connection early where ``lose`` says so."""

    lose: ClassVar[dict[str, int]] = {}

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        first = int(re.findall(r"\d+", self.headers.get("Range", "bytes=0-"))[0])
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : self.lose.pop(path.name, len(content))])


@pytest.fixture
def served(written: Path, tmp_path: Path) -> Iterator[tuple[Path, Path, str]]:
    """A folder with archives as VoxCeleb has them, the list of files, and the address."""
    folder = tmp_path / "served"
    folder.mkdir()
    lines = []

    def listed(place: str, archive: str, path: Path, host: str = "") -> None:
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        lines.append(f"{place} {archive} {md5} {host}{path.name}\n")

    for archive, place, inside in (
        ("vox1_dev_wav.zip", "vox1/dev", "wav"),
        ("vox1_test_wav.zip", "vox1/test", "wav"),
        ("vox2_dev_aac.zip", "vox2", "dev/aac"),
        ("rirs_noises.zip", ".", "RIRS_NOISES"),
    ):
        with zipfile.ZipFile(folder / archive, "w") as packed:
            for path in sorted((written / place / inside).rglob("*.*")):
                packed.write(path, path.relative_to(written / place))
        if "dev" not in archive:
            listed(place, archive, folder / archive)
            continue
        content = (folder / archive).read_bytes()
        (folder / archive).unlink()
        for number, letter in enumerate("abc"):
            part = folder / f"{archive[:-4]}_parta{letter}"
            part.write_bytes(content[number * len(content) // 3 : (number + 1) * len(content) // 3])
            listed(place, archive, part)
    with tarfile.open(folder / "musan.tar.gz", "w:gz") as tar:
        tar.add(written / "musan", "musan")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    listed(".", "musan.tar.gz", folder / "musan.tar.gz", address)
    for name in ("veri_test2", "list_test_all2", "list_test_hard2"):
        shutil.copy(written / "trials" / f"{name}.txt", folder)
        listed("trials", "-", folder / f"{name}.txt", address)
    (tmp_path / "files.txt").write_text("# a comment\n" + "".join(lines))
    yield folder, tmp_path / "files.txt", address + "{file}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow  # beside a download without the recipe, and the recipe on a copy
def test_download_and_data(served: tuple[Path, Path, str], tmp_path: Path) -> None:
    _, files, url = served
    given = ["--download", str(tmp_path / "here"), "--list", str(files), "--url", url, "--no_counts"]
    run = recipe(*given, "--exp", str(tmp_path / "exp"), "--stop_stage", "1")
    assert "vox2_dev_aac.zip: checked and unpacked" in run.stdout and stages(run, "done") == ["1"]
    assert len(read_data_dir(tmp_path / "exp/data/train")) == 16
    again = recipe(*given, "--exp", str(tmp_path / "exp"), "--stop_stage", "1")
    assert "musan.tar.gz: unpacked already" in again.stdout and stages(again, "up to date") == ["1"]


def test_download_goes_on_where_it_ended(
    served: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, files, url = served
    given = ["--out", str(tmp_path / "here"), "--list", str(files), "--url", url]
    name = "vox2_dev_aac_partab"
    size = (folder / name).stat().st_size
    _Quiet.lose[name] = size // 2
    assert download.main(given) == 2
    error = capsys.readouterr().err
    assert f"{name}.part: ends after {size // 2:,} of {size:,} bytes (run this again" in error
    assert not (tmp_path / "here/vox2").exists()
    assert download.main(given) == 0
    assert len(list((tmp_path / "here/vox2").rglob("*.m4a"))) == 16


@pytest.mark.parametrize("fetched", [True, False])
def test_wrong_checksum(
    served: tuple[Path, Path, str], tmp_path: Path, fetched: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, files, url = served
    here = tmp_path / "here/archives"
    here.mkdir(parents=True)
    wrong = folder if fetched else here
    (wrong / "vox1_test_wav.zip").write_bytes(b"not what is listed")
    given = ["--out", str(tmp_path / "here"), "--list", str(files), "--url", url]
    assert download.main(given) == 2
    error = capsys.readouterr().err
    assert (
        "vox1_test_wav.zip" in error
        and f"has the MD5 {hashlib.md5(b'not what is listed').hexdigest()}" in error
    )
    # what somebody has put there is not removed
    assert (here / "vox1_test_wav.zip").exists() != fetched and not (here / "vox1_test_wav.zip.part").exists()
    assert not (tmp_path / "here/vox1/test").exists()


@pytest.mark.parametrize(
    ("line", "url", "message"),
    [
        ("vox1 a.zip " + "0" * 32 + " a.zip", None, "a.zip is not in OUT/archives, and there is no --url"),
        ("vox1 a.zip " + "0" * 32 + " a.zip", "URL", "404"),
        ("vox1 a.zip 0123 a.zip", None, "files.txt:1: expected 'FOLDER ARCHIVE MD5 FILE'"),
    ],
)
def test_bad_lists_and_addresses(
    served: tuple[Path, Path, str],
    tmp_path: Path,
    line: str,
    url: str | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served[1].write_text(line + "\n")
    given = ["--out", str(tmp_path / "here"), "--list", str(served[1])]
    assert download.main([*given, *(["--url", served[2]] if url else [])]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_list_names_every_archive() -> None:
    items = download.read_list(RECIPE / "local/files.txt")
    assert len(items) == 18 and len({item.md5 for item in items}) == 18
    assert {item.folder for item in items} == {"vox1/dev", "vox1/test", "vox2", "trials", "."}


def test_the_table_without_results_is_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert voxceleb_results.main([]) == 0
    assert capsys.readouterr().out == (RECIPE / "RESULTS.md").read_text()


def test_our_configuration_is_read() -> None:
    config = load_config(RunConfig, RECIPE / "conf/ours.yaml")
    assert (config.sdpn.dimension_weight, config.training.batch_size) == (0.1, 384)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give --download, or --vox1, --vox2 and --trials"),
        (["--download", "x", "--vox1", "y"], "--download has its own"),
        (["--vox1", "/no/such", "--vox2", ".", "--trials", "."], "no such folder: /no/such"),
        (["--vox1", ".", "--vox2", ".", "--trials", ".", "--config", "nope"], "no such file: nope"),
        (["--vox1", ".", "--vox2", ".", "--trials", ".", "--ngpu", "0"], "--ngpu must be at least 1"),
        (
            ["--vox1", ".", "--vox2", ".", "--trials", ".", "--num_nodes", "2"],
            "--num_nodes needs --rendezvous",
        ),
        (
            ["--vox1", ".", "--vox2", ".", "--trials", ".", "--average", "-1"],
            "--average must not be negative",
        ),
    ],
)
def test_bad_options_are_one_clear_line(args: list[str], message: str) -> None:
    done = recipe(*args, code=2)
    assert (
        done.stderr.startswith("run.sh: error: ") and message in done.stderr and done.stderr.count("\n") == 1
    )
