"""The command line. The only package that prints or exits: one file a command.

Exit codes: 0 done, 2 the request or its data is wrong (one message says what and how to mend it), 130 Ctrl-C.
"""

import os
import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer

from ..allocator import keep_freed_memory
from ..errors import Interrupted, SparringError
from .analyse import app as analyse_app
from .attack import attack, recipes_app
from .augment import augment
from .cite import cite
from .console import leave_process_group, say, show_warning
from .doctor import doctor
from .evaluate import evaluate
from .methods import app as methods_app
from .mix import app as mix_app
from .pretrain import pretrain
from .report import report
from .resources import app as resources_app
from .study import app as study_app
from .train import command as train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train language models against an adversary, attack them, and measure what was gained.",
)
app.command("pretrain")(pretrain)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("attack")(attack)
app.add_typer(mix_app, name="mix")
app.command("augment")(augment)
app.add_typer(analyse_app, name="analyse")
app.command("report")(report)
app.add_typer(methods_app, name="methods")
app.add_typer(recipes_app, name="recipes")
app.add_typer(study_app, name="study")
app.add_typer(resources_app, name="resources")
app.command("cite")(cite)
app.command("doctor")(doctor)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"sparring {version('sparring')}\n")
        raise typer.Exit


@app.callback()
def common(
    asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train language models against an adversary, attack them, and measure what was gained."""


def main() -> None:
    """Run a command; errors a user can mend become one message and exit code 2."""
    warnings.showwarning = show_warning
    # read when torch is loaded: threads that wait by spinning make everything several times slower on a busy machine
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()
    try:
        app(standalone_mode=True)
    except Interrupted as error:
        say(str(error), "yellow")
        sys.exit(130)
    except SparringError as error:
        say(f"error: {error}", "red")
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted", "yellow")
        sys.exit(130)
    finally:
        leave_process_group()
