"""How large the package is, and how long its import and its help take, in an environment that has nothing else.

    python benchmarks/package_size.py                     builds the wheel, installs it and torch into a new environment
    python benchmarks/package_size.py --environment DIR   measures an environment in which it is installed already

What is timed takes turns, round by round, so that a change of the machine's mood hits all of it; medians are reported,
of the wall clock and of the processor time of the process and its children. Writes benchmarks/results/package.json,
which docs/build_cards.py puts into docs/dependencies.md. Needs `build` and hatchling, which the extra dev has.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "package.json"
LARGEST = 12
INSTALLED = """
import importlib.metadata, json
found = []
for one in importlib.metadata.distributions():
    sizes = [(file.locate(), file) for file in one.files or []]
    size = sum(path.stat().st_size for path, _ in sizes if path.is_file())
    found.append({"name": one.metadata["Name"].lower(), "version": one.version, "bytes": size})
print(json.dumps(found))
"""
COMMANDS = """
import json
from typer.main import get_command
from sparring.cli import app

def walk(command, path):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, [*path, name])

print(json.dumps([path for path in walk(get_command(app), []) if path]))
"""


def main() -> None:
    """Build, install, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default="2.13.0", help="version that is installed first")
    parser.add_argument("--environment", type=Path, help="an environment with torch and the wheel")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        dist = Path(place, "dist")
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
        environment = options.environment or make(Path(place, "environment"), options.torch, wheel)
        python = str(environment.resolve() / "bin" / "python")
        record = {"command": "python benchmarks/package_size.py", "rounds": options.rounds, **machine(python)}
        record |= {"wheel_bytes": wheel.stat().st_size, "sdist_bytes": sdist.stat().st_size}
        with zipfile.ZipFile(wheel) as archive:
            record["embedded_bytes"] = archive.getinfo("sparring/data/demo.py").compress_size
        installed = json.loads(said(python, INSTALLED, place))
        record["installed_bytes"] = sum(one["bytes"] for one in installed)
        record["installed"] = sorted(installed, key=lambda one: -one["bytes"])[:LARGEST]
        record["times"] = times(python, options.rounds, place)
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def make(environment: Path, torch: str, wheel: Path) -> Path:
    """A new environment with torch, and then the wheel and what it asks for."""
    venv.create(environment)
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install", "--quiet"]
    for what in (f"torch=={torch}", str(wheel)):
        subprocess.run([*pip, what], check=True)
    return environment


def times(python: str, rounds: int, place: str) -> list[dict[str, Any]]:
    """Medians of the bare interpreter, imports and commands; of the helps of all commands, the slowest."""
    helps = [[*path, "--help"] for path in json.loads(said(python, COMMANDS, place))]
    run = {
        "python -c pass": ["-c", "pass"],
        "import sparring": ["-c", "import sparring"],
        "from sparring import ALUM": ["-c", "from sparring import ALUM"],
        "sparring --help": ["-m", "sparring", "--help"],
        **{f"sparring {' '.join(path)}": ["-m", "sparring", *path] for path in helps},
        "sparring cite mat": ["-m", "sparring", "cite", "mat"],
        "sparring methods": ["-m", "sparring", "methods"],
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in run}
    for number in range(rounds + 1):  # the first fills the caches of the disk
        for name, arguments in run.items():
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([python, *arguments], check=True, capture_output=True, cwd=place, env=clean())
            wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            if number:
                spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                taken[name].append((wall, spent))
    found = [
        {
            "what": name,
            "seconds": statistics.median(w for w, _ in both),
            "cpu_seconds": statistics.median(c for _, c in both),
        }
        for name, both in taken.items()
    ]
    of_commands = {f"sparring {' '.join(path)}" for path in helps}
    slowest = max((one for one in found if one["what"] in of_commands), key=lambda one: one["seconds"])
    rest = [one for one in found if one["what"] not in of_commands]
    return [*rest, slowest | {"what": f"{slowest['what']} (the slowest of {len(helps)})"}]


def said(python: str, code: str, place: str) -> str:
    """What a piece of code prints."""
    run = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=place, env=clean())
    return run.stdout


def clean() -> dict[str, str]:
    """The environment's variables without those that lead to another copy of the package."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}


def machine(python: str) -> dict[str, Any]:
    """Where it was measured, and what else was going on: the load of the minute before."""
    version = said(python, "import platform; print(platform.python_version())", ".").strip()
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return {"machine": f"{os.cpu_count()} cores, {name}", "python": version, "load": round(os.getloadavg()[0], 1)}


if __name__ == "__main__":
    main()
