"""What runs in a batch job: one shard of a command, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.io.atomic import atomic_write_text

#: The program of this package.
SDPN = ("-m", "sdpn")


@dataclass(frozen=True)
class ShardJob:
    """A shard, to be called in its job. Every command that has shards goes on where it was interrupted.

    Attributes:
        command: words of the program.
        record: file that says that the shard is finished, written last.
        work: digest of what the shard depends on, for the record.
        threads: threads that it may use.
        program: what Python runs.
    """

    command: Sequence[str]
    record: Path
    work: str
    threads: int
    program: Sequence[str] = SDPN

    def __call__(self) -> int:
        """Run the shard; returns its exit code, negative for the number of a signal that ended it."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        code = subprocess.run([sys.executable, *self.program, *self.command], env=environment).returncode
        if code == 0:
            atomic_write_text(self.record, json.dumps({"work": self.work, "command": self.command}) + "\n")
        return code

    def checkpoint(self) -> Any:
        """Called by submitit before a time limit or a preemption: queued again as it is."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
