"""Jobs that measure a model: clean scores, attacks, other models' adversarial rows, radii, neurons."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..adapters.load import load_trained
from ..attack.calibrate import calibrated as calibrated_temperature
from ..attack.engine import Memory
from ..attack.outcome import Outcome, summary
from ..attack.records import Record, fingerprint
from ..attack.run import attack
from ..attack.victim import Victim, as_victim
from ..data.batch import Batch
from ..data.load import Examples
from ..errors import DataError, RunError
from ..evaluate.clean import make_batches, predict
from ..evaluate.metrics import score
from ..evaluate.robust import EmbeddingAttack, robust_curve
from ..model.load import longest_text
from ..settings import parse
from ..train.folder import read_run
from .check import neuron_settings as settings_from
from .check import recipe_of
from .job import Job
from .perform import Task, model_folder
from .plan import digest_of
from .sources import anchored, drawn, read_cross, read_part

LETTERS = {"failed": "h", "success": "b", "skipped": "s"}
"""What became of a row: held, broken, skipped because it was wrong before."""


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A trained model, ready to be asked."""

    model: Any
    tokenizer: Any
    run: dict[str, Any]
    like: Examples

    def batches(self, examples: Examples) -> list[Batch]:
        settings = self.run["settings"]
        length = longest_text(self.model, self.tokenizer, int(settings.get("max_length", 128)))
        unperturbed = () if settings.get("perturb_special", True) else self.tokenizer.all_special_ids
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(device)
        return list(
            make_batches(
                self.tokenizer,
                examples.texts,
                examples.labels,
                max_length=length,
                batch_size=64,
                device=device,
                unperturbed=unperturbed,
            )
        )


def scored(task: Task) -> dict[str, Any]:
    """Clean scores on test rows, or on those of another domain."""
    own, loaded = task.job.settings, _loaded(task)
    if own["cross_domain"]:
        examples = read_cross(task.study.cross_domain[task.job.name], task.root, loaded.like)
        task.same(examples, "test")
    else:
        examples = task.rows("test", like=loaded.like)
    batches = loaded.batches(examples)
    counted = (_counting(task, "scoring", i, len(batches), batch) for i, batch in enumerate(batches, 1))
    found, metric = predict(loaded.model, counted), str(own["metric"])
    answers, targets = found.answers, found.targets
    if "positive" in own and own["positive"] in loaded.like.label_names:  # f1 is about that class
        number = loaded.like.label_names.index(own["positive"])
        scores = score(metric, (answers == number).long(), (targets == number).long())
    else:
        scores = score(metric, answers, targets)
    result = {
        "data": task.job.name,
        "cross_domain": own["cross_domain"],
        "metric": metric,
        "scores": scores,
        "rows": len(examples.texts),
        "sha256": examples.digest,
    }
    if examples.is_regression:
        pairs = (("predictions", answers), ("targets", targets))
        return result | {name: [round(float(x), 6) for x in values] for name, values in pairs}
    return result | {"correct": _bits((answers == targets).tolist())}


def attacked(task: Task) -> dict[str, Any]:
    """One recipe on drawn test rows, and again by an attacker who divides logits by the best temperature."""
    own, folder = task.job.settings, task.trained
    victim, like = as_victim(str(folder)), _like(folder)
    examples = _attacked_rows(task, like)
    memory = Memory()
    plain = _attack(task, task.job, folder, victim, examples, task.work, memory)
    result = _outcome(plain, 1.0, own["recipe"]) | {"sha256": examples.digest}
    result["described"], result["calibrated"] = plain.described, None
    if own["calibrated"]:
        temperature = calibrated_temperature(victim, examples.texts, [int(label) for label in examples.labels])
        temperature = round(temperature, 6)
        warm = _attack(task, task.job, folder, victim, examples, task.work, memory, temperature)
        result["calibrated"] = _outcome(warm, temperature, own["recipe"])
    kept = plain.outcomes[: own["keep_examples"]]
    return result | {"seconds": task.seconds, "examples": [_shown(o, like.label_names) for o in kept]}


def transferred(task: Task) -> dict[str, Any]:
    """Rows that an attack broke another model with, asked of this one."""
    own, (source, place), (_, source_model) = task.job.settings, task.needs[1], task.needs[2]
    folder = model_folder(source_model, source)
    like = _like(folder)
    examples = drawn(task.rows("test", like=like), source.settings["examples"])
    if examples.digest != source.data["test"]:
        raise DataError(f"{examples.origin} has changed since the study was planned; run the study again")
    record = _record(source, folder, examples, place, task)
    outcomes = _finished(record, len(examples.texts))
    if outcomes is None:  # the texts are no part of the records: a fresh clone makes them again
        found = _attack(task, source, folder, as_victim(str(folder)), examples, task.work, Memory())
        outcomes = found.outcomes
    broken = [o for o in outcomes if o.status == "success" and o.adversarial is not None]
    texts = [o.adversarial for o in broken if o.adversarial is not None]
    gold = [like.label_names[o.label] for o in broken]
    correct = _right(task.trained, texts, gold) if texts else []
    return {
        "source": own["source"],
        "recipe": own["recipe"],
        "rows": len(broken),
        "numbers": [o.row for o in broken],
        "sha256": digest_of([texts, gold]),
        "correct": _bits(correct),
    }


def curve(task: Task) -> dict[str, Any]:
    """Accuracy over radii of perturbations of the embeddings."""
    own, loaded = dict(task.job.settings), _loaded(task)
    count = own.pop("examples")
    own.pop("part", None)
    examples = task.same(drawn(_test_rows(task, loaded.like), count), "test")
    attack_by = parse(EmbeddingAttack, own)
    total = len(examples.texts)
    points = robust_curve(
        loaded.model, loaded.batches(examples), attack_by, progress=lambda done: task.tick("perturbing", done, total)
    )
    names = ("radius", "radius_absolute", "accuracy", "low", "high", "random_accuracy")
    return {
        "points": [{**{n: getattr(p, n) for n in names}, "correct": _bits(p.correct)} for p in points],
        "rows": total,
        "sha256": examples.digest,
        "seconds": task.seconds,
    }


def neurons(task: Task) -> dict[str, Any]:
    """Linguistic correlation analysis of the model's neurons."""
    from ..analyse.neurons import analyse

    assert task.study.neurons is not None  # or the plan would have no such job
    own = {name: value for name, value in task.job.settings.items() if name != "part"}
    settings = settings_from(own, anchored(task.study.neurons.corpus, task.root))
    store = task.work / "activations"
    tick = lambda done, total, what: task.tick(what, done, total)  # noqa: E731
    found: dict[str, Any] = analyse(task.trained, settings, tick, work=store)
    shutil.rmtree(store, ignore_errors=True)
    return found


# models and rows


def _loaded(task: Task) -> _Loaded:
    folder = task.trained
    model, tokenizer = load_trained(folder)
    return _Loaded(model, tokenizer, read_run(folder), _like(folder))


def _like(folder: Path) -> Examples:
    """What rows must be like that a model is asked about: its classes, its number of texts."""
    run = read_run(folder)
    return Examples(
        texts=(("",) * int(run["fields"]),),
        labels=(),
        label_names=tuple(map(str, run["labels"])),
        metric=run["metric"],
        origin=str(run["settings"].get("data")),
        digest="",
        notes=(),
    )


def _test_rows(task: Task, like: Examples) -> Examples:
    """All test rows; those that a job draws out of them are compared with the plan."""
    found = read_part(task.spec, "test", task.root, like=like)
    assert found is not None  # a data set without is an error
    return found


def _attacked_rows(task: Task, like: Examples) -> Examples:
    return task.same(drawn(_test_rows(task, like), task.job.settings["examples"]), "test")


def _counting(task: Task, what: str, done: int, total: int, batch: Batch) -> Batch:
    task.tick(what, done, total)
    return batch


def _right(folder: Path, texts: Sequence[tuple[str, ...]], gold: Sequence[str]) -> list[bool]:
    """Whether a model answers the class that a text has, by name."""
    victim = as_victim(str(folder))
    names = _like(folder).label_names
    different = list(dict.fromkeys(texts))
    answers = dict(zip(different, victim.exact.answer(different), strict=True))
    return [names[int(answers[text].argmax())] == name for text, name in zip(texts, gold, strict=True)]


# attacks


@dataclass(frozen=True)
class _Played:
    outcomes: tuple[Outcome, ...]
    described: dict[str, Any]


def _attack(
    task: Task,
    job: Job,
    folder: Path,
    victim: Victim,
    examples: Examples,
    place: Path,
    memory: Memory,
    temperature: float = 1.0,
) -> _Played:
    """An attack, or the rest of it, with its lines in a folder."""
    own = job.settings
    record = _record(job, folder, examples, place, task, temperature)
    try:
        record.read()
    except RunError:  # of a model that has been trained anew since
        for path in record.paths():
            path.unlink()
    recipe = recipe_of(own["recipe"], own["options"], task.root, 0)
    title = own["recipe"] if temperature == 1.0 else f"{own['recipe']}, calibrated"
    results = attack(
        victim,
        examples,
        recipe,
        budget=own["budget"],
        temperature=temperature,
        frozen=own["frozen"],
        record=record,
        memory=memory,
        progress=lambda done, total, broken: task.tick(title, done, total),
    )
    return _Played(results.outcomes, results.recipe)


def _record(job: Job, folder: Path, examples: Examples, place: Path, task: Task, temperature: float = 1.0) -> Record:
    """Where the lines of an attack are kept, and what they belong to."""
    weights = fingerprint(str(folder)).rsplit(" ", 1)[1]
    head = {
        "weights": weights,
        "data": examples.digest,
        "temperature": temperature,
        "labels": list(examples.label_names),
    }
    head |= {name: job.settings[name] for name in ("recipe", "options", "budget", "frozen")}
    head["made_of"] = job.data.get("recipe")
    name = job.settings["recipe"] if temperature == 1.0 else f"{job.settings['recipe']}-calibrated"
    return Record(place, name, head)


def _finished(record: Record, rows: int) -> tuple[Outcome, ...] | None:
    """The outcomes of an attack that is over; None if they are gone, or those of another."""
    try:
        found = record.read()
    except RunError:
        return None
    return tuple(found[row] for row in sorted(found)) if len(found) == rows else None


def _outcome(played: _Played, temperature: float, recipe: str) -> dict[str, Any]:
    found = summary(played.outcomes)
    return {
        "recipe": recipe,
        "temperature": temperature,
        "rows": len(played.outcomes),
        "outcomes": "".join(LETTERS[o.status] for o in played.outcomes),
        "queries_mean": found.queries_mean,
        "changed_share": found.changed_share,
    }


def _shown(outcome: Outcome, names: Sequence[str]) -> dict[str, Any]:
    """An example as a record keeps it, classes by name."""

    def name(number: int | None) -> str | None:
        return None if number is None else names[number]

    return {
        "row": outcome.row,
        "label": name(outcome.label),
        "original": list(outcome.original),
        "adversarial": None if outcome.adversarial is None else list(outcome.adversarial),
        "predicted": name(outcome.predicted),
        "attacked": name(outcome.attacked),
        "status": outcome.status,
        "queries": outcome.queries,
    }


def _bits(correct: Sequence[bool]) -> str:
    return "".join("1" if right else "0" for right in correct)
