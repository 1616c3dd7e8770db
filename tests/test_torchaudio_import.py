"""torchaudio beside a torch it was not built for, each case in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

USE = """
from sdpn.torchaudio_import import torchaudio
import torch, torchaudio as again
assert again is torchaudio
mel = torchaudio.functional.melscale_fbanks(257, 20.0, 7600.0, 80, 16000)
assert mel.shape == (257, 80) and float(mel.sum()) > 0
fbank = torchaudio.compliance.kaldi.fbank(torch.randn(1, 16000), num_mel_bins=80)
assert fbank.shape[1] == 80
torchaudio.models.Conformer(80, 4, 128, 1, 31)
import sdpn
assert callable(sdpn.load_model) and callable(sdpn.Diarizer)
print("works")
"""

# What the native extension does at import in each case: the real one refuses a torch without its CUDA.
_MISSING_LIBRARY = """
import torch
def refuse(path):
    raise OSError(f"libc10_cuda.so: cannot open shared object file, needed by {path}")
torch.ops.load_library = refuse
"""
_OTHER_CUDA = """
import sys, torch, types
# As torchaudio.utils does it: the libraries load, then the CUDA versions are compared.
torch.ops.load_library = lambda path: None
torch.version.cuda = "99.1"
torch.ops._torchaudio.cuda_version = lambda: 13000
"""
_MATCHING = """
import torch
torch.ops.load_library = lambda path: None
torch.version.cuda = None
torch.ops._torchaudio.cuda_version = lambda: None
torch.ops._torchaudio.is_align_available = lambda: False
torch.ops.torchaudio._lfilter_core_loop = torch.ops.torchaudio._overdrive_core_loop = None
"""


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "setup", "expected_error"),
    [
        ("the pair that is installed here", "", None),
        ("a CPU build of torch", _MISSING_LIBRARY, "OSError"),
        ("a torch for a newer CUDA", _OTHER_CUDA, "RuntimeError"),
        ("the matching pair", _MATCHING, None),
    ],
)
def test_torchaudio_works(name: str, setup: str, expected_error: str | None) -> None:
    if expected_error is not None:  # the simulation is honest: a plain import really fails that way
        plain = _run(setup + "\nimport torchaudio")
        assert plain.returncode != 0 and expected_error in plain.stderr, name
    result = _run(setup + USE)
    assert result.returncode == 0 and result.stdout.strip() == "works", result.stderr


def test_functions_that_need_the_extension_say_so() -> None:
    code = _MISSING_LIBRARY + textwrap.dedent(
        """
        from sdpn.torchaudio_import import torchaudio
        try:
            torchaudio.functional.forced_align(torch.zeros(1, 2, 3), torch.ones(1, 1, dtype=torch.int32))
        except RuntimeError as error:
            print(error)
        """
    )
    assert "native extension" in _run(code).stdout


def test_a_missing_torchaudio_is_reported_as_such() -> None:
    code = """
    import sys
    sys.modules["torchaudio"] = None
    try:
        import sdpn.torchaudio_import
    except ModuleNotFoundError as error:
        print("missing", error.name)
    """
    assert _run(code).stdout.startswith("missing")
