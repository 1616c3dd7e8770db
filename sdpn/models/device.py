"""Where a network computes, by the name of the device."""

from __future__ import annotations

import os

import torch

from sdpn.errors import InputError


def find_device(named: str | None) -> str:
    """The given device, or the GPU of this process, or the CPU.

    Raises:
        InputError: there is no such device.
    """
    if named is None:
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    kind, colon, number = named.partition(":")
    if kind == "cpu" and not colon:
        return named
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise InputError(f"--device {named!r} is not a device", hint="expected cpu, cuda or cuda:N")
    if not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {named!r} is not available: torch finds {torch.cuda.device_count()} GPUs")
    return named
