"""What a record says about the machine and the code that it was made with. Loads nothing heavy."""

import hashlib
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..train.versions import versions

DECIDES = (
    *("objective.py", "settings.py", "adapters/", "analyse/", "attack/", "data/", "evaluate/", "methods/", "model/"),
    *("perturb/", "train/", "study/perform"),
)
"""Beginnings of the files of the package that results depend on."""
SHOWS = ("page.py", "report.py", "attacks_page.py")
"""Those among them that only show results."""


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
    """Versions, code, machine, threads, command, the GPU if one is in use; names of people and machines stay out."""
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    return {
        "versions": _versions(),
        "code": CODE,
        "machine": _machine(),
        "threads": threads,
        **({} if (called := command()) is None else {"command": called}),
        "gpu": torch.cuda.get_device_name() if torch is not None and used else None,
    }


def hash_of(package: Path) -> str | None:
    """Of the package's source as far as results depend on it, comments and all: 12 hex digits; None if unreadable."""
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name.startswith(DECIDES) and path.name not in SHOWS and not path.name.startswith("."):
            try:
                content = path.read_bytes()
            except OSError:
                return None
            whole.update(f"{name} {len(content)} ".encode() + content)
    return whole.hexdigest()[:12]


CODE = hash_of(Path(__file__).parents[1])
"""Of the code that this process, or the one that it was forked from, has loaded: not of what the files are by now."""


def other_code(lines: Iterable[Mapping[str, Any]]) -> str:
    """A sentence on records that were made with other code than there is now, "" if none is known to be."""
    known = [line["environment"].get("code") for line in lines if isinstance(line.get("environment"), Mapping)]
    other = sum(CODE is not None and one not in (None, CODE) for one in known)
    if not other:
        return ""
    results = "one result is" if other == 1 else f"{other} results are"
    return f"{results} of other code of sparring than is here now, and kept: for new ones give the study another output"


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
