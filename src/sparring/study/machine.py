"""What a record says about the machine that it was made on. Loads nothing heavy."""

import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

from ..train.versions import versions


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment(threads: int) -> dict[str, Any]:
    """Versions, machine, threads, and the GPU if one is in use; names of people and machines stay out."""
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    return {
        "versions": _versions(),
        "machine": _machine(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if torch is not None and used else None,
    }


@cache
def _versions() -> dict[str, str]:
    return versions()


@cache
def _machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
