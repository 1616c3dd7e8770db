"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

if TYPE_CHECKING:
    from sdpn.training.config import RunConfig
    from tests.pretend_device import PretendDevice, RealDevice

ROOT = Path(__file__).resolve().parent.parent

#: Overrides with which SDPN remembers utterances.
POSITIVES = ["sdpn.positive_memory=9", "sdpn.positive_step=1"]

#: Overrides of a run that takes a second, for the command line as well.
TINY = [
    "encoder.channels=16",
    "encoder.aggregation_channels=24",
    "encoder.embedding_dim=12",
    "encoder.bottleneck=8",
    "encoder.dilations=[2, 3]",
    "head.hidden_dim=16",
    "head.projection_dim=8",
    "sdpn.num_prototypes=10",
    "dino.num_prototypes=10",
    "crops.global_s=1.0",
    "crops.local_s=0.5",
    "crops.num_local=2",
    "training.batch_size=4",
    "training.precision=fp32",
    "training.log_every=2",
    "training.watch_every=4",
    "optimizer.warmup_steps=2",
]


# A shell that starts the tests in the background makes them, and all that they start, deaf to Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Property tests try 100 examples, as hypothesis does, and 30 where slow tests are left out.

    They are the same in every run. One `tmp_path` may serve many: each overwrites the last one's file.
    """
    hypothesis_settings.register_profile(
        "sdpn",
        max_examples=30 if config.option.markexpr == "not slow" else 100,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    hypothesis_settings.load_profile("sdpn")


def pytest_report_header() -> str:
    """Say on which card the tests of devices run."""
    import torch

    if not torch.cuda.is_available():
        return "GPU: none; tests that want one run on tests/pretend_device.py alone"
    return f"GPU: {torch.cuda.get_device_name()}"


@pytest.fixture(params=["pretended", "real"])
def device(request: pytest.FixtureRequest) -> Iterator[PretendDevice | RealDevice]:
    """A device that is not the CPU: one that is pretended, and the GPU, where there is one."""
    import torch

    from tests.pretend_device import RealDevice, pretend_device

    if request.param == "pretended":
        with pretend_device() as pretended:
            yield pretended
    elif torch.cuda.is_available():
        yield RealDevice()
    else:
        pytest.skip("there is no GPU")


@pytest.fixture
def recordings_folder(tmp_path: Path) -> Path:
    """Recordings at two depths, of one and two channels, and files that are none."""
    import numpy as np
    import soundfile

    noise = np.random.default_rng(0).standard_normal((20000, 2)) * 0.1
    folder = tmp_path / "recordings"
    (folder / "day 1").mkdir(parents=True)
    soundfile.write(folder / "day 1" / "b.flac", noise[:, 0], 16000)
    soundfile.write(folder / "a.wav", noise, 16000)
    (folder / "notes.txt").write_text("nothing to hear")
    (folder / ".hidden.wav").touch()
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared corpora: ``$SDPN_SHARED_DATA``, or ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("SDPN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the shared corpora are not here: {folder} (set SDPN_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_run() -> RunConfig:
    """Settings of a run that takes a second: real in every part, small in every size."""
    from sdpn.config import load_config
    from sdpn.training.config import RunConfig

    return load_config(RunConfig, None, TINY)


def write_noise(folder: Path, count: int, *, num_samples: int = 20000) -> Path:
    """Write a data directory of white noise: u0 in 0.wav and so on, with as many digits as are needed."""
    import numpy as np
    import soundfile

    from sdpn.io.kaldi import Utterance, write_data_dir

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    utterances = []
    for index in range(count):
        name = f"{index:0{len(str(count - 1))}}"
        soundfile.write(folder / f"{name}.wav", rng.standard_normal(num_samples) * 0.1, 16000)
        utterances.append(Utterance(f"u{name}", folder / f"{name}.wav"))
    write_data_dir(folder, utterances)
    return folder


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus to train on: 24 utterances of 1.25 s, noise that is coloured differently for 6 voices.

    A Kaldi data directory with speakers, and with trials beside it.
    """
    import numpy as np
    import soundfile
    from scipy.signal import lfilter

    from sdpn.io.kaldi import Utterance, write_data_dir

    folder = tmp_path_factory.mktemp("voices")
    rng = np.random.default_rng(0)
    utterances = []
    for index in range(24):
        voice = index % 6
        # two resonances make a voice, one more the utterance
        poles = np.array([0.95, 0.9, 0.6]) * np.exp(
            1j * np.pi * np.array([0.05 + 0.05 * voice, 0.3 + 0.1 * voice, rng.uniform(0.1, 0.9)])
        )
        wave = lfilter([1.0], np.poly(np.concatenate([poles, poles.conj()])).real, rng.standard_normal(20000))
        path = folder / f"{index:02}.wav"
        soundfile.write(path, 0.2 * wave / np.abs(wave).max(), 16000)
        utterances.append(Utterance(f"u{index:02}", path, speaker=f"voice{voice}"))
    write_data_dir(folder, utterances)
    pairs = [(a, b) for a in range(24) for b in range(a)]
    lines = [f"{int(a % 6 == b % 6)} u{a:02} u{b:02}\n" for a, b in pairs]
    (folder / "trials").write_text("".join(lines))
    return folder
