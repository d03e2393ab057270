"""Attack a victim: every example one search, all of them played together."""

import gc
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from ..data.load import Examples
from ..errors import DataError, ModelError, SettingError
from ..model import world
from .constrain import violations
from .engine import Memory, Search, Work, play
from .game import Answers, Game, OutOfQueries
from .outcome import Outcome, Summary, summary
from .recipe import Recipe
from .records import Record
from .similarity import Encoder, similarity
from .text import Text
from .victim import ModelVictim, Victim, as_victim

RESTARTS = 20
"""How often a search begins anew because the victim took back what it had said; after that the victim is a dice."""


class AttackStopped(ModelError):
    """The victim failed in mid-attack. `outcomes`: of the examples that were finished by then."""

    def __init__(self, message: str, outcomes: tuple[Outcome, ...]) -> None:
        super().__init__(message)
        self.outcomes = outcomes


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """What an attack did to all examples, in the order of the rows."""

    recipe: dict[str, Any]
    """See `Recipe.describe`."""
    outcomes: tuple[Outcome, ...]
    temperature: float
    budget: int | None
    seed: int
    seconds: float
    """Of this call; examples read from disk took their time before."""
    work: Work = field(default_factory=Work)

    @property
    def summary(self) -> Summary:
        """Accuracy under attack and so on, with intervals."""
        return summary(self.outcomes)

    def __repr__(self) -> str:
        s = self.summary
        low, high = s.attacked_interval
        return (
            f"<{self.recipe['recipe']}: accuracy {s.clean_accuracy:.1%} -> {s.accuracy_under_attack:.1%} "
            f"({low:.1%}-{high:.1%}) on {s.examples} examples, {s.queries_mean:.0f} queries each>"
        )


def attack(
    victim: Any,
    rows: Examples | Sequence[Any],
    recipe: Recipe,
    *,
    budget: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    frozen: Iterable[int] = (),
    encoder: Encoder | None = None,
    record: Record | None = None,
    pool: int | None = None,
    memory: Memory | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> Results:
    """Attack every example that the victim gets right; say what became of each.

    victim: see `as_victim`. rows: `Examples`, or (text, label) pairs, or {"text", "label"} mappings; a text is a string
    or a tuple of strings, a label the number of a class. budget: most queries an example. temperature: the attacker
    divides logits by it. frozen: fields that are not touched, such as 0 for a premise. encoder: measures similarity;
    None: it is not measured. record: where each finished example is written, and from where it is taken up again.
    pool: see `engine.play`; default 384 on a processor and 8,192 on a GPU. memory: share one between attacks on the
    same victim, and no text is scored twice.
    progress: called with (done, all, broken) as examples end.
    With torchrun each process plays its share of the rows; the results are of that share.
    Raises SettingError for a budget below 1 and the like, DataError for rows that cannot be used, AttackStopped when
    the victim fails.
    """
    if budget is not None and budget < 1:
        raise SettingError(f"budget is {budget}; the first query is that of the original text, so give 1 or more")
    if not 0 < temperature < math.inf:
        raise SettingError(f"temperature is {temperature:g}; it must be above 0, and finite")
    examples, frozen = _pairs(rows), tuple(frozen)
    if any(not 0 <= number < len(examples[0][0]) for number in frozen):
        raise SettingError(f"frozen is {frozen}; the texts have {len(examples[0][0])} fields, numbered from 0")
    target: Victim = as_victim(victim)
    known = target.classes if isinstance(target, ModelVictim) else math.inf
    odd = next((row for row, (_, gold) in enumerate(examples, 1) if gold >= known), None)
    if odd is not None:
        raise DataError(f"row {odd} has class number {examples[odd - 1][1]}; the victim knows {known} classes, from 0")
    bound = recipe.bound(target)
    done = record.read() if record is not None else {}
    broken = sum(o.status == "success" for o in done.values())
    mine = [row for row in range(len(examples)) if row % world.announced_size() == world.announced_rank()]
    # the longest first: texts of one length share batches, and the last searches to end have few words to try
    left = sorted((row for row in mine if row not in done), key=lambda row: -sum(map(len, examples[row][0])))
    found = {row: done[row] for row in mine if row in done}

    def searches() -> Iterator[tuple[int, Search[Outcome]]]:
        for row in left:
            fields, gold = examples[row]
            text = Text.of(*fields, frozen=frozen)
            game = Game(text, gold, target, budget=budget, temperature=temperature, seed=seed, row=row)
            yield row, _example(game, bound, encoder, row)

    if pool is None:
        pool = 8_192 if isinstance(target, ModelVictim) and target.device.type == "cuda" else 384
    work, began = Work(), time.perf_counter()
    writer = record.writer(world.announced_rank()) if record is not None else None
    try:
        with _settled():
            for row, outcome in play(searches(), pool=pool, memory=memory, work=work):
                found[row] = outcome
                broken += outcome.status == "success"
                if writer is not None:
                    writer.add(outcome)
                if progress is not None:
                    progress(len(found), len(mine), broken)
    except ModelError as error:
        kept = "they are in `outcomes` of this error"
        if record is not None:
            kept = f"they are kept in {record.folder}, and --resume goes on from there"
        message = f"{error}. {len(found)} of {len(mine)} examples were finished; {kept}"
        raise AttackStopped(message, tuple(found[row] for row in sorted(found))) from error
    finally:
        if writer is not None:
            writer.close()
    return Results(
        recipe=bound.describe(),
        outcomes=tuple(found[row] for row in sorted(found)),
        temperature=temperature,
        budget=budget,
        seed=seed,
        seconds=time.perf_counter() - began,
        work=work,
    )


@contextmanager
def _settled() -> Iterator[None]:
    """The garbage collector leaves alone what is there already: models, tables and modules, through which it would go
    again and again on account of the many small objects of an attack. Not where somebody else has told it so.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _example(game: Game, recipe: Recipe, encoder: Encoder | None, row: int) -> Search[Outcome]:
    """One example from the first query to the audit."""
    clean = yield from game.open()
    said = int(clean.log_probabilities[0].argmax())
    common: dict[str, Any] = {
        "row": row,
        "label": game.gold,
        "original": game.original.fields,
        "predicted": said,
        "gold_before": float(clean.probabilities[0, game.gold]),
        "words": len(game.original.editable),
    }
    if clean.broken[0]:
        return Outcome(status="skipped", queries=game.queries, note="answered wrongly before any change", **common)
    note, final, last = "", None, None
    for attempt in range(RESTARTS + 1):
        note, final = "", None
        try:
            final = yield from recipe.search(game, recipe.transform, recipe.constraints)
        except OutOfQueries:
            note = "the query budget is used up"
        answer = None if final is None or not final.changed else game.answer(final)
        last = None if final is None or not final.changed else final
        # a quick answer close to the border may be on the wrong side of it: ask those in full
        if final is None or answer is None or not (answer.broken[0] or game.near(answer.margin[0])):
            note = note or ("" if final is not None else "no word may be changed")
            final = None
            break
        confirmed = yield from game.verify(final)
        if confirmed:
            break
        final = None
        if not answer.broken[0]:
            break
        note = "the victim does not stand by its answers"
        if attempt < RESTARTS:
            game.restart()
    counts: dict[str, Any] = {"queries": game.queries, "repeats": game.repeats, "note": note}
    if final is None:
        return Outcome(status="failed", attempt=None if last is None else last.fields, **common, **counts)
    broken_constraints = yield from violations(recipe.constraints, game.original, final)
    cosine = None
    if encoder is not None:
        cosine = yield from similarity(encoder, game.original, final)
    end: Answers | None = game.answer(final)
    assert end is not None  # verified above
    return Outcome(
        status="success",
        adversarial=final.fields,
        attacked=int(end.log_probabilities[0].argmax()),
        gold_after=float(end.probabilities[0, game.gold]),
        changed=len(final.changed),
        similarity=None if cosine is None else round(float(cosine), 6),
        violations=tuple(broken_constraints),
        **common,
        **counts,
    )


def _pairs(rows: Examples | Sequence[Any]) -> list[tuple[tuple[str, ...], int]]:
    """Rows of any kind as ((field, ...), class number)."""
    if isinstance(rows, Examples):
        if rows.is_regression or not rows.labels:
            raise DataError(f"{rows.origin}: an attack needs rows with a class each")
        rows = list(zip(rows.texts, rows.labels, strict=True))
    found = [_pair(number, row) for number, row in enumerate(rows, 1)]
    if not found:
        raise DataError("there is nothing to attack: no rows")
    odd = next((n for n, (fields, _) in enumerate(found, 1) if len(fields) != len(found[0][0])), None)
    if odd is not None:
        raise DataError(f"row {odd} has {len(found[odd - 1][0])} texts, and row 1 has {len(found[0][0])}")
    return found


def _pair(number: int, row: Any) -> tuple[tuple[str, ...], int]:
    try:
        text, label = (row["text"], row["label"]) if isinstance(row, Mapping) else row
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"row {number} is {row!r:.80}; give (text, label), or a mapping with 'text' and 'label'"
        ) from None
    fields = (text,) if isinstance(text, str) else tuple(text) if isinstance(text, Sequence) else ()
    if not fields or not all(isinstance(part, str) for part in fields):
        raise DataError(f"row {number}: a text is a string or a tuple of strings, found {text!r:.80}")
    if isinstance(label, bool) or not isinstance(label, Integral) or label < 0:
        raise DataError(f"row {number}: the label is {label!r}; give the number of its class, from 0")
    return fields, int(label)
