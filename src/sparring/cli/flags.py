"""Flags of a command from the fields of a settings dataclass: name, help, default and type are said once."""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin, get_type_hints

import typer


def with_flags(
    settings: type[Any], *more: inspect.Parameter, without: Iterable[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command of **flags one flag for each field, and further parameters; a flag not given is None."""
    parameters = [_flag(field, hint) for field, hint in _fields(settings) if field.name not in without]
    parameters += more

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {p.name: p.annotation for p in parameters}
        return function

    return decorate


def keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """A further parameter of a command."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _fields(settings: type[Any]) -> Sequence[tuple[dataclasses.Field[Any], Any]]:
    hints = get_type_hints(settings)
    return [(field, hints[field.name]) for field in dataclasses.fields(settings)]


def _flag(field: "dataclasses.Field[Any]", hint: Any) -> inspect.Parameter:
    optional = type(None) in get_args(hint)
    kind = next(k for k in get_args(hint) if k is not type(None)) if optional or get_origin(hint) is Union else hint
    kind = str if get_origin(kind) is Literal or str in get_args(kind) else kind  # a size may be "0.1x"
    flag = "--" + field.name.replace("_", "-")
    default = "none" if field.default is None else field.default
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=f"{field.metadata['help']} (default: {default})",
        show_default=False,
    )
    return keyword(field.name, Annotated[Optional[kind], option], None)  # noqa: UP045
