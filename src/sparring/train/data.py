"""The examples of a fine-tuning run. Imports nothing heavy: a wrong path or column is named at once."""

from dataclasses import dataclass

from ..data.load import Examples, load
from ..data.tasks import TASKS
from .mix_options import Mix
from .options import FineTune


@dataclass(frozen=True)
class Data:
    """Training and held-out examples of a run."""

    train: Examples
    held_out: Examples | None

    @property
    def notes(self) -> list[str]:
        """What was inferred, for people to check."""
        named = [("train", self.train), *([("eval", self.held_out)] if self.held_out else [])]
        return [f"{name}: {note}" for name, examples in named for note in examples.notes]


def load_data(settings: FineTune | Mix) -> Data:
    """The examples the settings name; DataError says what is wrong with which row."""
    columns = tuple(part.strip() for part in settings.text.split(",")) if settings.text else None
    train = load(settings.data, text=columns, label=settings.label, limit=settings.limit)
    has_dev = settings.data == "demo" or (settings.data in TASKS and "dev" in TASKS[settings.data].splits)
    source = settings.eval_data or (settings.data if has_dev else None)
    if source is None:
        return Data(train, None)
    return Data(train, load(source, split="dev", text=columns, label=settings.label, like=train))
