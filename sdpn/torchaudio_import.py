"""The only import of torchaudio, which makes it work with any version of torch.

torchaudio is frozen at 2.11 while torch moves on, and whisperX holds it at 2.8. Its package loads a native
extension at import, built against one torch with one CUDA, and raises when that is not the one installed:

- a CPU build of torch, or another version of it: ``OSError``, libraries or symbols are missing;
- a torch for a newer CUDA: ``RuntimeError``, the CUDA versions differ;
- the matching pair: it imports.

Everything that sdpn uses (mel filter banks, Kaldi features, Conformer) is pure Python on top of torch. So a
failed import of the extension is retried with the extension declared absent, which torchaudio supports (it
ships builds without one). ``torchaudio.functional.lfilter`` and functions based on it are then slow Python
loops; sdpn does not use them.

Use: ``from sdpn.torchaudio_import import torchaudio``.
"""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

_log = logging.getLogger(__name__)


def import_torchaudio() -> ModuleType:
    """Import torchaudio, without its native extension where that does not fit the installed torch.

    Raises:
        ImportError: torchaudio is not installed, or fails for a reason other than its extension.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        raise
    except (OSError, RuntimeError, ImportError) as error:
        _log.debug(
            "torchaudio's native extension does not match this torch, continuing without it: %s", error
        )
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio._extension"] = _absent_extension()
        return importlib.import_module("torchaudio")


def _absent_extension() -> ModuleType:
    """Replacement for ``torchaudio._extension`` as in a build without extension."""

    def fail(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise RuntimeError(
            "this function needs torchaudio's native extension, which does not match this torch"
        )

    module = ModuleType("torchaudio._extension")
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=lambda _function: fail,
        # up to 2.8
        _IS_RIR_AVAILABLE=False,
        fail_if_no_rir=lambda _function: fail,
        lazy_import_sox_ext=lambda: SimpleNamespace(is_available=lambda: False),
    )
    return module


torchaudio = import_torchaudio()
