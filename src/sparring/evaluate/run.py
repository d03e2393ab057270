"""Evaluation of a finished run, or of any classifier: on which data, clean and under attack, as one plain record."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..adapters.load import load_trained
from ..data.batch import Batch
from ..data.load import Examples, load
from ..data.tasks import TASKS
from ..errors import RunError, SettingError
from ..model.load import longest_text
from ..train.folder import RUN, read_run
from .classes import examples_for
from .clean import evaluate, make_batches
from .metrics import interval
from .robust import EmbeddingAttack, robust_curve
from .sanity import sanity_checks

LONGEST = 512
"""Tokens at which texts are cut for a model that is no run of ours, or where its position table ends."""


def evaluate_run(
    run: Path | str,
    *,
    data: str | None = None,
    split: str | None = None,
    text: Sequence[str] | None = None,
    label: str | None = None,
    limit: int | None = None,
    attack: EmbeddingAttack | None = None,
    sanity: bool = False,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What a classifier scores: {"run", "method", "data", "notes", "clean", "attack", "curve", "checks"}.

    run: the folder of a run, or of any other classifier, or a hub name; "method" is empty for those, and their texts
    are cut at LONGEST tokens.
    data: default is the run's own held-out data, and the test split where that is the embedded data.
    attack: also measure accuracy under perturbations of its radii. sanity: check that the attack can be trusted.
    progress: called with (sentences done, sentences in all) during the attack.
    """
    folder = Path(run)
    description = read_run(folder) if (folder / RUN).is_file() else None
    model: Any
    model, tokenizer = load_trained(run)
    columns: Any = {"data": data, "split": split, "text": text, "label": label, "limit": limit}
    if description is None:
        classes = 0 if model.config.num_labels == 1 else int(model.config.num_labels)
        examples = examples_for(str(run), model.config, classes, **columns)
        batches = _batches(examples, model, tokenizer, max_length=LONGEST, batch_size=batch_size)
    else:
        batches, examples = run_batches(folder, description, model, tokenizer, **columns, batch_size=batch_size)
    clean = evaluate(model, batches, examples.metric)
    if "accuracy" in clean:
        total = int(clean["examples"])
        clean["accuracy_low"], clean["accuracy_high"] = interval(round(clean["accuracy"] * total), total)
    record: dict[str, Any] = {
        "run": str(run),
        "method": {} if description is None else description["method"],
        "data": {"origin": examples.origin, "rows": len(examples.texts), "sha256": examples.digest},
        "notes": list(examples.notes),
        "clean": clean,
    }
    if attack is not None:
        total = len(examples.texts)
        tick = (lambda done: progress(done, total)) if progress else None
        curve = robust_curve(model, batches, attack, progress=tick)
        record["attack"] = dataclasses.asdict(attack)
        record["curve"] = [{k: v for k, v in dataclasses.asdict(p).items() if k != "correct"} for p in curve]
        if sanity:
            record["checks"] = [dataclasses.asdict(check) for check in sanity_checks(model, batches, attack)]
    return record


def run_batches(
    folder: Path,
    description: dict[str, Any],
    model: nn.Module,
    tokenizer: Any,
    *,
    data: str | None = None,
    split: str | None = None,
    text: Sequence[str] | None = None,
    label: str | None = None,
    limit: int | None = None,
    batch_size: int = 64,
) -> tuple[list[Batch], Examples]:
    """Batches of the data named, or of the run's held-out data, on the device the model is moved to (a GPU if any)."""
    examples = run_examples(folder, description, data=data, split=split, text=text, label=label, limit=limit)
    settings = description["settings"]
    special = () if settings.get("perturb_special", True) else tokenizer.all_special_ids
    asked = int(settings.get("max_length", 128))
    return _batches(examples, model, tokenizer, max_length=asked, batch_size=batch_size, unperturbed=special), examples


def _batches(
    examples: Examples,
    model: Any,
    tokenizer: Any,
    *,
    max_length: int,
    batch_size: int,
    unperturbed: Sequence[int] = (),
) -> list[Batch]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    made = make_batches(
        tokenizer,
        examples.texts,
        examples.labels,
        max_length=longest_text(model, tokenizer, max_length),
        batch_size=batch_size,
        device=device,
        unperturbed=unperturbed,
    )
    return list(made)


def run_examples(
    folder: Path,
    description: dict[str, Any],
    *,
    data: str | None = None,
    split: str | None = None,
    text: Sequence[str] | None = None,
    label: str | None = None,
    limit: int | None = None,
) -> Examples:
    """The data named, or the run's held-out data; classes are those that the run was trained on.

    Columns that are not named are those of the training data, where the data has them, or inferred.
    """
    try:
        settings = description["settings"]
        trained = Examples(
            texts=(("",) * int(description["fields"]),),
            labels=(),
            label_names=tuple(description["labels"]),
            metric=description["metric"],
            origin=settings["data"],
            digest="",
            notes=(),
        )
        source = data or settings["eval_data"] or settings["data"]
        own = "test" if source == "demo" else "dev"
        own_columns = [part.strip() for part in settings["text"].split(",")] if settings["text"] else None
        usual = own_columns, settings["label"]
        if data is None:
            text, label = text or own_columns, label or settings["label"]
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder / 'run.yaml'} is damaged: it lacks {error}") from error
    named = source == "demo" or source in TASKS or source.startswith("hub:")
    if data is None and settings["eval_data"] is None and not named:
        raise SettingError(f"{folder} was trained without held-out data; name some with --data")
    examples = load(source, split=split or own, text=text, label=label, usual=usual, like=trained, limit=limit)
    then = description["data"].get("eval", {})
    if data is None and split is None and limit is None and own == "dev" and then.get("sha256") != examples.digest:
        examples = replace(
            examples, notes=(*examples.notes, f"{examples.origin} has changed since the run was trained")
        )
    return examples
