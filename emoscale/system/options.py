"""Settings of the hardware that a run uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from emoscale.system.option_types import OPTIONS, Bytes, Count, OneOf


@dataclass(frozen=True)
class MachineOptions:
    """Where to compute; may change between stages of one run."""

    __pydantic_config__ = OPTIONS

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count | None = None
    """CPU threads of each process; the machine's cores divided among its processes when left out."""
    split_model: Literal["layers", "tensors"] | None = None
    """For models larger than a device: spread the layers over this process's devices, or every layer's tensors over the
    processes (tensor parallelism). Each process holds a complete model when left out."""
    writers: Count = 2
    """Threads of each process that write activations to disk while the next are computed."""
    backend: Annotated[str, OneOf("emoscale.selectivity.backends:BACKENDS")] = "auto"
    """What compares RDMs under permutation; ``auto`` is a GPU where there is one."""
    memory_limit: Bytes | None = None
    """Memory for activations while selectivity is computed, e.g. ``4 GB``, in each process; a quarter of the free
    memory when left out."""
    scheduler: str | None = None
    """Address of a running Dask cluster for the selectivity stage, e.g. ``tcp://10.0.0.1:8786``."""
    cluster: Literal["slurm"] | None = None
    """Kind of cluster to start for the selectivity stage; dask-jobqueue's own settings say what a job is."""
    workers: Count = 4
    """Worker processes of the cluster that is started."""

    def __post_init__(self) -> None:
        if self.cluster and self.scheduler:
            raise ValueError("machine.scheduler and machine.cluster are both set; keep one of them")
