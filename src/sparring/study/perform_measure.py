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
from ..attack.records import Record, fingerprint, read_lines
from ..attack.run import attack
from ..attack.victim import Victim, as_victim
from ..data.batch import Batch
from ..data.load import Examples
from ..errors import RunError
from ..evaluate.clean import make_batches, predict
from ..evaluate.metrics import score
from ..evaluate.robust import EmbeddingAttack, robust_curve
from ..model.load import longest_text
from ..settings import parse
from ..train.folder import read_run
from .check import neuron_settings as settings_from
from .check import recipe_of
from .perform import Task
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
    examples = task.same(drawn(_test_rows(task, like), own["examples"]), "test")
    memory = Memory()
    plain = _attack(task, victim, examples, memory)
    result = _outcome(plain, 1.0, own["recipe"]) | {"sha256": examples.digest}
    result["described"], result["calibrated"] = plain.described, None
    if own["calibrated"]:
        temperature = calibrated_temperature(victim, examples.texts, [int(label) for label in examples.labels])
        temperature = round(temperature, 6)
        warm = _attack(task, victim, examples, memory, temperature)
        result["calibrated"] = _outcome(warm, temperature, own["recipe"])
    kept = plain.outcomes[: task.study.keep_examples]
    return result | {"seconds": task.seconds, "examples": [_shown(o, like.label_names) for o in kept]}


def transferred(task: Task) -> dict[str, Any]:
    """Rows that an attack broke another model with, asked of this one."""
    own, (source, place) = task.job.settings, task.needs[1]
    path = place / f"{own['recipe']}.jsonl"
    if not path.is_file():
        raise RunError(f"the texts of '{source.title}' are gone: there is no {path}; delete its folder and run again")
    head, outcomes = read_lines(path)
    broken = sorted((o for o in outcomes if o.status == "success" and o.adversarial is not None), key=lambda o: o.row)
    texts = [o.adversarial for o in broken if o.adversarial is not None]
    gold = [str(head["labels"][o.label]) for o in broken]
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


def _attack(task: Task, victim: Victim, examples: Examples, memory: Memory, temperature: float = 1.0) -> _Played:
    """An attack, or the rest of it, with its lines in the job's folder."""
    own = task.job.settings
    title = own["recipe"] if temperature == 1.0 else f"{own['recipe']}, calibrated"
    head: dict[str, Any] = {"weights": fingerprint(str(task.trained)).rsplit(" ", 1)[1], "data": examples.digest}
    head |= {"labels": list(examples.label_names), "temperature": temperature, "made_of": task.job.data.get("recipe")}
    head |= {name: own[name] for name in ("recipe", "options", "budget", "frozen")}
    record = Record(task.work, own["recipe"] if temperature == 1.0 else f"{own['recipe']}-calibrated", head)
    record.drop_foreign()  # of a model that has been trained anew since
    results = attack(
        victim,
        examples,
        recipe_of(own["recipe"], own["options"], task.root, 0),
        budget=own["budget"],
        temperature=temperature,
        frozen=own["frozen"],
        record=record,
        memory=memory,
        progress=lambda done, total, broken: task.tick(title, done, total),
    )
    return _Played(results.outcomes, results.recipe)


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
        "attempt": None if outcome.attempt is None else list(outcome.attempt),
        "predicted": name(outcome.predicted),
        "attacked": name(outcome.attacked),
        "status": outcome.status,
        "queries": outcome.queries,
    }


def _bits(correct: Sequence[bool]) -> str:
    return "".join("1" if right else "0" for right in correct)
