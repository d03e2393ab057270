"""More training rows, made once before training: an ordinary data file with a column that says how each was made.

The first family of Altinisik et al. (Findings of ACL 2023): random word operations, words drawn anew from a masked
language model, and rows that an attack made against a trained victim.

OUTPUT             text and label columns as in the data, `provenance`, `source_row`
OUTPUT.yaml        victim, recipes, seed, counts, versions
OUTPUT.parts/      while an attack goes on: finished rows, from which the same command goes on after a crash
"""

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..attack.engine import play
from ..attack.masked_lm import MaskedLM
from ..attack.recipes import RECIPES
from ..attack.recipes import recipe as attack_recipe
from ..attack.records import Record, fingerprint
from ..attack.run import attack
from ..attack.text import Text
from ..attack.transform.synonyms import synonyms as synonyms_from
from ..attack.victim import ModelVictim, Victim, as_victim
from ..data.batch import make_key
from ..data.columns import MADE
from ..data.load import Examples, load
from ..errors import DataError, RunError, SettingError
from ..settings import nearest
from .augment_file import FORMATS, write
from .folder import versions
from .online import CONTROL, sampler
from .options import check_frozen
from .resample import resample
from .word_operations import OPERATIONS

RESAMPLE = "resample"
WAYS = (*OPERATIONS, RESAMPLE, *(name for name in RECIPES if name not in OPERATIONS), CONTROL)
"""Everything that `recipes` may name. `random` is a random word operation; the control attack of that name is
`random-synonyms`."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What is made out of which rows."""

    data: str
    output: Path
    recipes: tuple[str, ...] = ("random",)
    """Names, each with a ratio of its own if it needs one: "random", "textfooler:0.5"."""
    text: tuple[str, ...] | None = None
    label: str | None = None
    limit: int | None = None
    model: str | None = None
    """The victim: a run folder, a model folder or a hub name."""
    ratio: float = 1.0
    """Rows per row, of each recipe without a ratio of its own."""
    keep: Literal["successes", "all"] = "successes"
    """Of attacks: texts that broke the victim, or also those with which they gave up."""
    labels: Literal["keep", "victim"] = "keep"
    """Label of a new row: that of its row, or what the victim says to it."""
    alpha: float = 0.1
    """Share of the words that a random operation or `resample` changes."""
    budget: int | None = None
    frozen: tuple[int, ...] = ()
    """Numbers of the text columns that stay as they are, such as 0 for a premise."""
    seed: int = 0
    originals: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    """Of attack recipes: synonyms, masked_lm, without, ... ; the first two serve random operations and `resample`."""

    def __post_init__(self) -> None:
        if self.output.suffix not in FORMATS:
            raise SettingError(f"--output {self.output}: the suffix must be one of {', '.join(FORMATS)}")
        for name in self.ratios:
            if name not in WAYS:
                raise SettingError(f"there is no way to augment called '{name}'; {nearest(name, WAYS)}")
        if not self.recipes or len(self.ratios) < len(self.recipes):
            raise SettingError(f"name each recipe once, and one at least, not {', '.join(self.recipes) or 'none'}")
        if not 0 < self.alpha <= 1:
            raise SettingError(f"alpha is {self.alpha:g}; it must be above 0, and at most 1")
        for name, ratio in self.ratios.items():
            if not 0 < ratio < math.inf:
                raise SettingError(f"{name}: ratio is {ratio:g}; it must be above 0, and finite")
            if is_attack(name) and ratio > 1:
                raise SettingError(
                    f"an attack makes one text a row: of {name}, ratio is at most 1, not {ratio:g}; give it one of its "
                    f"own, such as {name}:1"
                )
        attacks = [name for name in self.ratios if is_attack(name)]
        if self.model is None and (attacks or self.labels == "victim"):
            what = attacks[0] if attacks else "labels=victim"
            raise SettingError(f"{what} needs a victim; name a run folder, model folder or hub name with --model")
        if self.budget is not None and self.budget < 1:
            raise SettingError(f"budget is {self.budget}; the first query is that of the original, so give 1 or more")

    @property
    def ratios(self) -> dict[str, float]:
        """Rows per row of each recipe, by its name."""
        own = (parted(recipe) for recipe in self.recipes)
        return {name: self.ratio if ratio is None else ratio for name, ratio in own}


@dataclass(frozen=True)
class Made:
    """The rows that one recipe made."""

    name: str
    rows: list[tuple[int, tuple[str, ...]]]
    """Number of the original row, and the text."""
    tried: int
    report: dict[str, Any]


def is_attack(recipe: str) -> bool:
    """Whether a recipe, with a ratio or without, is an attack on a victim."""
    name, _ = parted(recipe)
    return name not in OPERATIONS and name != RESAMPLE


def parted(recipe: str) -> tuple[str, float | None]:
    """Name and ratio: "random:2" is ("random", 2.0), "random" has none."""
    name, colon, ratio = (part.strip() for part in recipe.partition(":"))
    try:
        return name, float(ratio) if colon else None
    except ValueError:
        raise SettingError(f"recipe {recipe!r}: a ratio follows the colon, such as {name}:0.5") from None


def augment(job: Augment, *, progress: Progress | None = None, anew: bool = False) -> dict[str, Any]:
    """Make the rows and write the file; what OUTPUT.yaml says.

    progress: called with (recipe, rows done, all). anew: what an attack on another victim or other rows left behind is
    deleted, not refused. Raises DataError where a recipe made nothing or a class has no row
    left, RunError where the output exists or cannot be written, SettingError for settings that do not go together.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingError("sparring augment runs in one process; start it without torchrun")
    sidecar, parts = (job.output.with_name(job.output.name + end) for end in (".yaml", ".parts"))
    if job.output.exists():
        raise RunError(f"{job.output} exists already; choose another --output, or delete it")
    examples = load(job.data, text=job.text, label=job.label, limit=job.limit)
    if examples.is_regression and (job.labels == "victim" or any(map(is_attack, job.recipes))):
        raise SettingError(f"{job.data}: attacks and labels of a victim need classes, and these labels are quantities")
    check_frozen(job.frozen, len(examples.texts[0]))
    if set(MADE) & set(examples.columns):
        raise SettingError(f"{job.data}: a text or label column is called {' or '.join(MADE)}; rename it")
    victim = as_victim(job.model) if job.model is not None else None
    _check_classes(victim, examples, job.model)
    made = [_make(job, name, examples, victim, parts, progress, anew) for name in job.ratios]
    rows = _rows(job, examples, made, victim)
    _check_labels(examples, rows)
    record = _describe(job, examples, made, rows)
    try:
        write(job.output, sidecar, examples, rows, record)
    except OSError as error:
        raise RunError(f"cannot write {job.output}: {error.strerror or error}; choose another --output") from error
    shutil.rmtree(parts, ignore_errors=True)
    return record


# one recipe


def _make(
    job: Augment,
    name: str,
    examples: Examples,
    victim: Victim | None,
    parts: Path,
    progress: Progress | None,
    anew: bool,
) -> Made:
    sources = _sources(job, name, len(examples.texts))
    if is_attack(name):
        assert victim is not None  # checked with the settings
        made = _attacked(job, name, examples, victim, sources, parts, progress, anew)
    else:
        made = _operated(job, name, examples, victim, sources, progress)
    if not made.rows:
        more = "more queries (--budget), another recipe, or --keep all" if is_attack(name) else "another recipe"
        raise DataError(
            f"{name} made no new text out of {made.tried} rows of {job.data}; try more rows (--ratio, --limit), {more}"
        )
    return made


def _sources(job: Augment, name: str, count: int) -> list[int]:
    """Which rows are worked on, in order, each as often as the ratio says."""
    whole, share = divmod(job.ratios[name], 1.0)
    draw = np.random.default_rng(make_key("augment rows", job.seed, name))
    some = sorted(int(row) for row in draw.choice(count, round(share * count), replace=False))
    return [*list(range(count)) * int(whole), *some]


def _operated(
    job: Augment, name: str, examples: Examples, victim: Victim | None, sources: list[int], progress: Progress | None
) -> Made:
    """Random word operations, or words drawn anew. An unchanged text, and the same text twice, is left out."""
    if name == RESAMPLE:
        lm = MaskedLM.load(job.options.get("masked_lm"))
        how = f"masked LM {lm.name!r}"
    else:
        swap = synonyms_from(job.options.get("synonyms", "auto"), 50)
        swap = swap.bound(victim) if victim is not None else swap
        how = swap.name if name in ("synonym", "insert", "random") else "no resource"

    def searches() -> Iterator[tuple[int, Any]]:
        for number, row in enumerate(sources):
            random = np.random.default_rng(make_key("augment", job.seed, name, number, row))
            text = Text.of(*examples.texts[row], frozen=job.frozen)
            if name == RESAMPLE:
                yield number, resample(text, lm, job.alpha, random)
            else:
                yield number, OPERATIONS[name](text, swap, job.alpha, random)

    found: dict[int, tuple[str, ...]] = {}
    for done, (number, text) in enumerate(play(searches()), 1):
        if text is not None and text.fields != examples.texts[sources[number]]:
            found[number] = text.fields
        if progress is not None:
            progress(name, done, len(sources))
    rows = list(dict.fromkeys((sources[number], found[number]) for number in sorted(found)))
    rows = [(row, fields) for row, fields in rows if all(part.strip() for part in fields)]
    return Made(name, rows, len(sources), {"recipe": name, "alpha": job.alpha, "transform": how})


def _attacked(
    job: Augment,
    name: str,
    examples: Examples,
    victim: Victim,
    sources: list[int],
    parts: Path,
    progress: Progress | None,
    anew: bool,
) -> Made:
    """Rows of an attack, from where an earlier call of the same command was interrupted."""
    recipe = sampler(name, **job.options) if name == CONTROL else attack_recipe(name, **job.options)
    said = fingerprint(str(job.model))
    head = {
        "victim": said.rsplit(" ", 1)[1] if Path(str(job.model)).is_dir() else said,  # a folder may be moved
        "data": examples.digest,
        **recipe.bound(victim).identity(),
        "budget": job.budget,
        "seed": job.seed,
        "ratio": job.ratios[name],
        **({"frozen": list(job.frozen)} if job.frozen else {}),
    }
    record = Record(parts, name, head)
    if anew:
        record.drop_foreign()
    tick = None if progress is None else lambda done, total, broken: progress(name, done, total)
    results = attack(
        victim,
        [(examples.texts[row], int(examples.labels[row])) for row in sources],
        recipe,
        budget=job.budget,
        seed=job.seed,
        frozen=job.frozen,
        record=record,
        progress=tick,
    )
    rows = []
    for outcome in results.outcomes:
        text = outcome.adversarial or (outcome.attempt if job.keep == "all" else None)
        if text is not None and all(part.strip() for part in text):
            rows.append((sources[outcome.row], text))
    right = sum(outcome.status != "skipped" for outcome in results.outcomes)
    broken = sum(outcome.status == "success" for outcome in results.outcomes)
    report = {
        **results.recipe,
        "right": right,
        "successes": broken,
        "success_rate": broken / max(right, 1),
        "queries_mean": sum(o.queries for o in results.outcomes) / max(len(results.outcomes), 1),
        "budget": job.budget,
    }
    return Made(name, rows, len(sources), report)


# the file


def _rows(job: Augment, examples: Examples, made: Sequence[Made], victim: Victim | None) -> list[dict[str, Any]]:
    """Everything that is written, one dict a row: label numbers under `label`."""
    rows = []
    if job.originals:
        rows = [
            {"text": text, "label": label, "provenance": "original", "source_row": row}
            for row, (text, label) in enumerate(zip(examples.texts, examples.labels, strict=True))
        ]
    new = [
        {"text": fields, "label": examples.labels[row], "provenance": one.name, "source_row": row}
        for one in made
        for row, fields in one.rows
    ]
    if job.labels == "victim" and victim is not None:
        texts = list(dict.fromkeys(one["text"] for one in new))
        said = dict(zip(texts, victim.exact.answer(texts), strict=True))
        new = [{**one, "label": int(said[one["text"]].argmax())} for one in new]
    return rows + new


def _check_classes(victim: Victim | None, examples: Examples, name: str | None) -> None:
    """The victim's classes are those of the data, in the same order."""
    if not isinstance(victim, ModelVictim) or examples.is_regression:
        return
    config: Any = victim.model.config
    names = [str(config.id2label[i]) for i in range(victim.classes)]
    unnamed = all(label.upper() == f"LABEL_{i}" for i, label in enumerate(names))
    if len(names) != len(examples.label_names) or not (unnamed or tuple(names) == examples.label_names):
        raise DataError(
            f"{name} knows the classes {', '.join(names)}, and {examples.origin} has "
            f"{', '.join(examples.label_names)}; give a victim that was trained on these classes"
        )


def _check_labels(examples: Examples, rows: list[dict[str, Any]]) -> None:
    left = {row["label"] for row in rows}
    gone = [name for number, name in enumerate(examples.label_names) if number not in left]
    if gone:
        raise DataError(
            f"no row of the class {', '.join(map(repr, gone))} is left; keep the original rows, more texts (--keep "
            "all, --ratio), or their labels (--labels keep)"
        )


def _describe(job: Augment, examples: Examples, made: Sequence[Made], rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = examples.label_names
    labels = Counter(names[row["label"]] if names else "a quantity" for row in rows)
    return {
        "output": str(job.output),
        "data": {"origin": examples.origin, "rows": len(examples.texts), "sha256": examples.digest},
        "notes": list(examples.notes),
        "victim": None if job.model is None else fingerprint(job.model),
        "recipes": [_counted(job, one) for one in made],
        "ratio": job.ratio,
        "frozen": list(job.frozen),
        "keep": job.keep,
        "labels": job.labels,
        "seed": job.seed,
        "rows": dict(Counter(row["provenance"] for row in rows)),
        "label_counts": {name: labels[name] for name in names} if names else dict(labels),
        "versions": versions(),
    }


def _counted(job: Augment, one: Made) -> dict[str, Any]:
    counts = {"provenance": one.name, "ratio": job.ratios[one.name], "tried": one.tried, "rows": len(one.rows)}
    return counts | one.report
