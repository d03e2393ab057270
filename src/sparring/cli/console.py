"""What the commands share: the consoles, bars, and text that no terminal obeys."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from ..errors import SparringWarning

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
MAIN_PROCESS = os.environ.get("RANK", "0") == "0"
EVERY = 30.0
"""Seconds between lines of progress where there is no terminal for a bar."""
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def say(text: str, style: str = "") -> None:
    """One line for people, on stderr; control characters shown, not obeyed."""
    if MAIN_PROCESS:
        err.print(clean(text), style=style or None, markup=False, soft_wrap=True)


def clean(text: str) -> str:
    """Text that no terminal obeys: escape sequences and other control characters in visible form."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    shown = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    # half a surrogate pair, from a command line that was no UTF-8, cannot be encoded; \udxxx is valid JSON
    sys.stdout.write(shown.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")


def number(name: str, value: float) -> str:
    """A metric as people read it."""
    if name == "examples":
        return f"{value:.0f}"
    return f"{value:.3f}" if name in ("loss", "mcc", "pearson", "spearman") else f"{100 * value:.1f} %"


def size_of(text: str) -> float | str:
    """A length on the command line."""
    text = text.strip()
    try:
        return float(text)
    except ValueError:
        return text  # "0.1x", or something the attack will name as no size


def show_warning(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    """Our warnings on stderr, others' not at all."""
    if issubclass(category, SparringWarning):
        say(f"warning: {message}", "yellow")


def quiet() -> None:
    """Other libraries' bars, reports and advice off: what matters is said by us."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def bar(title: str, *, shown: bool) -> Iterator[Any]:
    """A progress bar with rate and remaining time, as a context that gives a function of (done, total, note)."""
    if not shown:
        yield None
        return
    with progress_bar() as progress:
        task = progress.add_task(clean(title), total=None, note="")
        yield lambda done, total, note="": progress.update(task, completed=done, total=total, note=note)


def progress_bar() -> Any:
    """Done, all, rate and remaining time, on stderr, gone when it ends; where that is no terminal, a line at times."""
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[note]}", markup=False),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left", markup=False),
        progress.TimeRemainingColumn(),
    )
    if err.is_terminal:
        return progress.Progress(*columns, console=err, transient=True)

    class Lines(progress.Progress):
        said = time.monotonic()

        def update(self, task_id: progress.TaskID, **fields: Any) -> None:
            super().update(task_id, **fields)
            if time.monotonic() - self.said >= EVERY:
                self.said = time.monotonic()
                say(_line(next(task for task in self.tasks if task.id == task_id)), "dim")

    return Lines(console=err, disable=True)


def _line(task: Any) -> str:
    """What a bar says, in words."""
    known = [f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total else ""), task.fields["note"]]
    if task.speed:
        known.append(f"{task.speed:.3g} a second")
    if task.total and task.time_remaining:
        left = task.time_remaining
        known.append(f"{left:.0f} s left" if left < 100 else f"{left / 60:.0f} min left")
    return f"  {task.description}: " + ", ".join(text for text in known if text)


def training_bar() -> Any:
    """A Trainer callback: steps, rate, loss and remaining time of a training run."""
    from transformers import TrainerCallback

    class Bar(TrainerCallback):  # type: ignore[misc]
        progress: Any = None
        attack: Any = None
        work: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.stop()
            self.progress = progress_bar()
            self.progress.start()
            self.task = self.progress.add_task("training", total=state.max_steps, completed=state.global_step, note="")

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.progress.update(self.task, completed=state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                note = f"loss {logs['loss']:.3f}"
                if "tokens_per_second" in logs:
                    note += f" · {logs['tokens_per_second']:,.0f} tokens/s"
                if "share_of_bound" in logs:
                    note += f" · {100 * logs['share_of_bound']:.0f} % of the bound"
                self.progress.update(self.task, note=note)

        def at_work(self, what: str, done: int, total: int) -> None:
            """A line for what goes on before or after training; total 0: nobody knows."""
            if self.progress is None:
                self.progress = progress_bar()
                self.progress.start()
            if self.work is None:
                self.work = self.progress.add_task(what, total=None, note="")
            self.progress.update(self.work, description=what, completed=done, total=total or None)

        def attacking(self, done: int, total: int, broken: int) -> None:
            """A line below, while training rows are attacked."""
            if self.attack is None:
                self.attack = self.progress.add_task("attacking training rows", total=total, note="")
            self.progress.update(self.attack, completed=done, total=total, note=f"{broken} adversarial")
            if done == total:
                self.progress.remove_task(self.attack)
                self.attack = None

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.stop()

        def stop(self) -> None:
            if self.progress is not None:  # also after an error, or the terminal stays without its cursor
                self.progress.stop()
            self.progress = self.work = self.attack = None

    return Bar()


@contextmanager
def watched_training(as_json: bool) -> Iterator[tuple[Any, Callable[[str], None]]]:
    """A training bar, and what takes sentences for people: (None, a deaf ear) where nobody is shown anything."""
    if as_json or not MAIN_PROCESS:
        yield None, lambda line: None
        return
    shown = training_bar()
    try:
        yield shown, lambda line: say(f"  {line}", "dim")
    finally:
        shown.stop()


def leave_process_group() -> None:
    """Processes started by torchrun part in order; one that just exits can make its neighbour abort."""
    if "RANK" in os.environ and "torch" in sys.modules:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()
