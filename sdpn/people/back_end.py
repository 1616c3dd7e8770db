"""The back end that compares voices with people."""

from __future__ import annotations

from pathlib import Path

from sdpn.errors import InputError
from sdpn.verification.back_end import BackEnd
from sdpn.verification.storage import own_back_end, read_back_end


def back_end_for(model: Path, digest: str | None, back_end: Path | None = None) -> BackEnd:
    """The back end that is given, or else the model's own.

    Args:
        model: the model.
        digest: of its weights.
        back_end: a file of 'sdpn backend'; None takes the model's own.

    Raises:
        InputError: there is none, it cannot be read, or it is another model's.
    """
    found = own_back_end(model) if back_end is None else read_back_end(back_end)
    if found is None:
        raise InputError(
            "has no back end, which known people need",
            path=model,
            hint=f"train one on unlabelled recordings: sdpn backend --model {model} --data DIR --out FILE, "
            "and give --back-end FILE",
        )
    found.refuse_other_model(digest, path=model)
    return found
