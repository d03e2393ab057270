"""Versions of what decides a run's numbers. Light to import."""

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """What the numbers of a run depend on besides its settings."""
    names = ("sparring", "torch", "transformers", "accelerate", "peft", "datasets")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
