"""What a record says about the machine that it was made on. Loads nothing heavy."""

import os
import platform
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

from ..train.versions import versions


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def command() -> str | None:
    """How the study was run, if a worker knows it: of paths the last part alone, and no addresses."""
    if Path(sys.argv[0]).name not in ("sparring", "__main__.py") or sys.argv[1:3] != ["study", "run"]:
        return None
    shown, before = ["sparring"], ""
    for argument in sys.argv[1:]:
        name, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        option = name if equals else before
        value = "ADDRESS" if option == "--ray" and value != "auto" else Path(value).name
        shown.append(f"{name}{equals}{value}" if equals else name or value)
        before = argument
    return shlex.join(shown)


def environment(threads: int) -> dict[str, Any]:
    """Versions, machine, threads, the command, and the GPU if one is in use; names of people and machines stay out."""
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    return {
        "versions": _versions(),
        "machine": _machine(),
        "threads": threads,
        **({} if (called := command()) is None else {"command": called}),
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
