"""Ranks and devices: the only place that knows Accelerate.

Each rank owns rows or work units and writes them; ranks share nothing but barriers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor

from emoscale.errors import InputError
from emoscale.system.launcher import launched

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long a rank waits for the others; stages on one rank can take hours."""


@dataclass(frozen=True)
class Ranks:
    """This process among the processes of the run.

    Attributes
    ----------
    rank : int
        Number of this process among those that share the work, from 0.
    world : int
        How many share the work. Processes that hold one model together do all work together: they are rank 0 of 1.
    device : device
        Where this process computes.
    tp_rank, tp_size : int
        Which part of every layer this process holds, from 0, and how many there are.
    """

    rank: int
    world: int
    device: torch.device
    _accelerator: Accelerator | None = None
    tp_rank: int = 0
    tp_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that does what only one may do."""
        return self.rank == 0 and self.tp_rank == 0

    @property
    def saves(self) -> bool:
        """Whether this process saves the results that all parts of a model computed identically."""
        return self.tp_rank == 0

    @property
    def processes(self) -> int:
        """How many processes run."""
        return self.world * self.tp_size

    def own(self, work: Sequence[T]) -> list[T]:
        """Return this rank's share of some work: every world-th item."""
        return list(work[self.rank :: self.world])

    def wait(self) -> None:
        """Wait until every rank has reached this point."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def agree(self, value: T) -> T:
        """Return part 0's value on every part; every part must call it.

        Parameters
        ----------
        value : object
            Can be pickled.
        """
        if self.tp_size == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of the parts' values on every part; every part must call it."""
        if self.tp_size > 1:
            torch.distributed.all_reduce(values)
        return values


def one_process(device: str = "cpu") -> Ranks:
    """Return the ranks of a process that runs alone, for notebooks and tests."""
    return Ranks(0, 1, torch.device(device))


def join(
    device: str = "auto", threads: int | None = None, split_model: Literal["layers", "tensors"] | None = None
) -> Ranks:
    """Find this process's rank and device, as the launcher (accelerate launch, torchrun) set them.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
    threads : int, optional
        CPU threads of this process; by default the machine's cores divided among its processes.
    split_model : {"layers", "tensors"}, optional
        See `emoscale.models.loading.load_model`. With ``tensors`` all processes are parts of one rank.

    Returns
    -------
    Ranks

    Raises
    ------
    InputError
        If fewer processes started than the launcher was asked for, or there is no such device; or if the processes of
        one machine would spread layers over the same GPUs, or tensors over CPUs where there are GPUs.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("machine.device 'cuda': no such device here; set machine.device to 'auto'")
    asked = launched()
    _check_launched(asked)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    _check_split(split_model, asked, local, device)
    torch.set_num_threads(threads or max(1, cores() // local))
    if asked == 1:
        return one_process("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    patience = InitProcessGroupKwargs(timeout=_PATIENCE)
    accelerator = Accelerator(cpu=device == "cpu" or not torch.cuda.is_available(), kwargs_handlers=[patience])
    if accelerator.num_processes < asked:
        raise InputError(
            f"{asked} processes were requested and {accelerator.num_processes} started; on CPUs start them with "
            f"torchrun --nproc_per_node {asked} -m emoscale ..."
        )
    number, count = accelerator.process_index, accelerator.num_processes
    if split_model == "tensors":
        return Ranks(0, 1, accelerator.device, accelerator, tp_rank=number, tp_size=count)
    return Ranks(number, count, accelerator.device, accelerator)


def _check_split(split_model: str | None, asked: int, local: int, device: str) -> None:
    if not torch.cuda.is_available():
        return
    if split_model == "layers" and local > 1 and device != "cpu":
        raise InputError(
            f"machine.split_model 'layers': {local} processes on this machine would share its GPUs; start one process "
            "a machine (--nproc_per_node 1), or set machine.split_model to 'tensors'"
        )
    if split_model == "tensors" and asked > 1 and device == "cpu":
        # Transformers takes the kind of device from PyTorch, not from our settings.
        raise InputError(
            "machine.split_model 'tensors': machine.device is 'cpu' and the tensors would go to GPUs; "
            "set machine.device to 'auto', or CUDA_VISIBLE_DEVICES to nothing"
        )


def _check_launched(asked: int) -> None:
    if asked > 1 and "RANK" not in os.environ:
        raise InputError(
            f"WORLD_SIZE is {asked} and no launcher started this process; unset it, or start the processes with "
            f"torchrun --nproc_per_node {asked} -m emoscale ..."
        )
    # On CPUs accelerate launch silently starts one process, whatever was requested; it leaves these traces.
    traces = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"}
    if "WORLD_SIZE" not in os.environ and traces <= os.environ.keys():
        raise InputError(
            "accelerate launch started one process instead of several, as it does on CPUs; start them with "
            "torchrun --nproc_per_node N -m emoscale ..."
        )


def leave() -> None:
    """Leave the process group at the end of a run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextmanager
def precision(name: str, device: torch.device) -> Iterator[None]:
    """Compute in the named precision while the block lasts.

    Parameters
    ----------
    name : {"auto", "exact", "bfloat16"}
        ``exact`` is the weights' own type, ``bfloat16`` is autocast; ``auto`` is bfloat16 where the device has it in
        hardware.
    device : device
    """
    bfloat16 = name == "bfloat16" or (name == "auto" and has_fast_bfloat16(device))
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
        yield
