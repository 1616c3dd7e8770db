"""Who runs batch jobs: processes of this machine, or Slurm; both through submitit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sdpn.errors import InputError

ExecutorName: TypeAlias = Literal["local", "slurm"]
EXECUTORS: tuple[ExecutorName, ...] = ("local", "slurm")

#: Nothing is cut off on this machine: submitit would end a local job after two minutes.
_LOCAL_MINUTES = 60 * 24 * 30


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What each job gets.

    Attributes:
        executor: ``local``: all jobs at once, as processes of this machine; ``slurm``: a job array.
        threads: threads (of Slurm: cores) of a job.
        gpus: GPUs of a job. Local jobs without any see no GPU.
        minutes: time limit; a Slurm job that reaches it is queued again and goes on. None: no limit, of
            Slurm an hour.
        memory_gb: memory of a Slurm job; None: the cluster's default.
        partition: of Slurm; None: the cluster's default.
        at_once: most jobs of a Slurm array that run at the same time; None: all.
        slurm: further options of ``sbatch`` without their dashes, such as ``{"account": "speech"}``.
    """

    executor: ExecutorName = "local"
    threads: int = 1
    gpus: int = 0
    minutes: int | None = None
    memory_gb: int | None = None
    partition: str | None = None
    at_once: int | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        of_slurm = {
            "--memory-gb": self.memory_gb,
            "--partition": self.partition,
            "--at-once": self.at_once,
            "--slurm": self.slurm or None,
        }
        given = [option for option, value in of_slurm.items() if value is not None]
        if self.executor == "local" and given:
            raise InputError(f"{given[0]} is for --executor slurm")


def make_executor(folder: Path, settings: BatchSettings) -> Any:
    """The executor of submitit.

    Args:
        folder: for its logs and pickles; of Slurm, on a disk that all nodes share.
        settings: of the jobs.

    Raises:
        InputError: submitit is not installed, or there is no Slurm here.
    """
    try:
        import submitit
    except ImportError:
        raise InputError(
            "batch jobs need submitit, which is not installed", hint="pip install 'sdpn[batch]'"
        ) from None
    if settings.executor == "local":
        executor = submitit.LocalExecutor(folder)
        executor.update_parameters(
            timeout_min=settings.minutes or _LOCAL_MINUTES, gpus_per_node=settings.gpus
        )
        return executor
    if submitit.SlurmExecutor.affinity() <= 0:
        raise InputError(
            "there is no Slurm on this machine: it has no command 'srun'",
            hint="--executor local runs the shards here; or submit from a node of the cluster",
        )
    cluster = submitit.SlurmExecutor(folder)
    given: dict[str, Any] = {
        "job_name": "sdpn",
        "time": settings.minutes or 60,
        "cpus_per_task": settings.threads,
        "gpus_per_node": settings.gpus or None,
        "mem": None if settings.memory_gb is None else f"{settings.memory_gb}GB",
        "partition": settings.partition,
        "array_parallelism": settings.at_once,
        "additional_parameters": dict(settings.slurm) or None,
    }
    cluster.update_parameters(**{name: value for name, value in given.items() if value is not None})
    return cluster
