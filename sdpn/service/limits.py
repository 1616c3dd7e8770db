"""What a service accepts, and how long it keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from sdpn.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a service accepts, and how long it keeps it.

    Attributes:
        upload_bytes: size of an upload.
        recording_s: length of a recording or a stream, as the decoder finds it, in seconds.
        waiting: jobs that wait, uploads in progress included.
        streams: streams at the same time.
        keep_s: results are deleted after this time, in seconds.
        idle_s: a client that sends nothing for this time is cut off.
        attempts: a job is given up when this many processes have died of it.
    """

    upload_bytes: int = 1_000_000_000
    recording_s: float = 4 * 3600.0
    waiting: int = 200
    streams: int = 4
    keep_s: float = 24 * 3600.0
    idle_s: float = 60.0
    attempts: int = 2

    def __post_init__(self) -> None:
        for name in ("upload_bytes", "recording_s", "waiting", "keep_s", "idle_s", "attempts"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}", hint="expected a number above 0")
        if self.streams < 0:
            raise InputError(f"streams is {self.streams}", hint="expected 0 or more")
