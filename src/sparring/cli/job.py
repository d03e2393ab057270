"""What the commands of training jobs share: --set, --config and --resume, and how they become settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..errors import SettingError
from ..settings import assignments, parse, read_yaml
from .console import AsJson
from .flags import keyword

S = TypeVar("S")

_SETTING = typer.Option("--set", help="A setting of the method, such as --set radius=0.2x; repeatable.")
JOB_FLAGS = (
    keyword("set", Annotated[list[str], _SETTING], []),
    keyword("config", Annotated[Path | None, typer.Option("--config", help="YAML file of these settings.")], None),
    keyword("resume", Annotated[bool, typer.Option(help="Continue the run in --output.")], False),
    keyword("json", AsJson, False),
)


def settings_of_job(
    base: S,
    given: dict[str, Any],
    config: Path | None,
    pairs: list[str],
    begun_with: Callable[[Path], S] | None,
) -> S:
    """Flags over --config over defaults; with --resume over what the run began with (`begun_with` of its folder)."""
    job: Any = base
    if begun_with is not None:
        if "output" not in given:
            raise SettingError("--resume needs --output: the folder of the run to continue")
        job = begun_with(Path(given["output"]))
    if config is not None:
        content = read_yaml(config)
        if isinstance(content.get("settings"), dict) and "versions" in content:
            content = content["settings"]  # the run.yaml of an earlier run
        job = parse(type(base), content, base=job)
        if config.name == "run.yaml" and "output" not in given:
            raise SettingError(f"{config} belongs to the run beside it; give this one another folder with --output")
    name = given.get("method", job.method)
    if "method" in given or pairs:
        from ..methods import method

        method(name)
    kept = job.settings if name == job.method else {}
    given["settings"] = {**kept, **_method_settings(name, pairs)} if pairs else kept
    return parse(type(base), given, base=job)


def _method_settings(name: str, pairs: list[str]) -> dict[str, Any]:
    """`--set` pairs as typed values, checked against the method before anything is loaded."""
    from ..methods import METHODS

    values = assignments(pairs)
    checked = parse(METHODS[name], values)
    return {key: getattr(checked, key) for key in values}
