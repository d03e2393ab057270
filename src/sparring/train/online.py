"""Training rows attacked with the model as it is by then: adversarial training in input space.

for each epoch from `clean_epochs` on, every `every` epochs:
    rows   = a share of the training rows, drawn by (seed, epoch)
    X_adv  = the texts with which the attack breaks the current model on them, towards the gold labels
train on the rows and X_adv, see `partners`, until the next X_adv is made

A2T (Yoo and Qi, Findings of EMNLP 2021) with the defaults: one clean epoch, a fifth of the rows, at most 200 queries a
row. It differs where the authors' code does not do what the paper says: gradients are those of the gold label in eval
mode, and neither accumulated gradients nor the model's modes change. They attack rows until a fifth of the data set was
broken; here a fifth is attacked, and the rows that hold have no adversarial version.

FOLDER/epoch-2.json             texts made after two epochs and what they cost, whole or not there
FOLDER/epoch-2.attack.jsonl     while they are being made: what is finished, to go on from after a crash
"""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from ..attack.controls import random_valid
from ..attack.engine import Memory, play
from ..attack.game import Game
from ..attack.recipe import Recipe
from ..attack.recipes import RECIPES, recipe
from ..attack.records import Record
from ..attack.run import attack
from ..attack.search import by_deletion
from ..attack.text import Text
from ..attack.victim import ModelVictim
from ..data.batch import make_key
from ..data.collate import encode
from ..data.load import Examples
from ..errors import RunError, SettingError, SparringWarning
from ..model import world
from ..settings import nearest
from .folder import WRITE_ERRORS, reason, write_json
from .options import check_frozen
from .partners import Term

FOLDER = "adversarial"
SAMPLERS = ("a2t", "greedy", "random")
"""Ways through the same texts, those that A2T's synonyms and constraints allow: by gradient, by deletion, at random."""
CONTROL = "random-synonyms"
"""What the attack recipe `random` is called here, where `random` is a sampler that asks the victim nothing."""


def sampler(name: str, **options: Any) -> Recipe:
    """A sampler, or an attack recipe by its name. SettingError for an unknown one.

    "a2t": words in the order of their gradients (Yoo and Qi 2021). "greedy": in the order in which deleting them harms.
    "random": any text that is allowed; the victim is not asked, so the text need not break it.
    """
    if name in ("greedy", "random"):
        base = recipe("a2t", **options)
        if name == "random":
            return replace(base, name=name, paper="Ivgi and Berant 2021", search=random_valid)
        known: Any = base.search
        return replace(base, name=name, search=partial(known.func, **{**known.keywords, "importance": by_deletion}))
    if name == CONTROL:
        return replace(recipe("random", **options), name=name)
    names = [*SAMPLERS, *(other for other in RECIPES if other not in SAMPLERS), CONTROL]
    if name not in names:
        raise SettingError(f"there is no online attack '{name}'; {nearest(name, ['none', *names])}")
    return recipe(name, **options)


@dataclass(frozen=True, kw_only=True, eq=False)
class Online:
    """When, how and which training rows are attacked, and how much the result counts.

    examples: the training rows as texts, in the order of the trainer's data set. folder: where texts are kept.
    frozen: numbers of fields that are not touched, such as 0 for a premise.
    Other settings: see `FineTune`. progress: called with (rows attacked, all, broken).
    """

    recipe: Recipe
    examples: Examples
    tokenizer: Any
    folder: Path
    max_length: int = 128
    share: float = 0.2
    every: int = 1
    clean_epochs: int = 1
    query_budget: int | None = 200
    frozen: tuple[int, ...] = ()
    seed: int = 0
    term: Term = Term(1.0)
    progress: Callable[[int, int, int], None] | None = None

    def __post_init__(self) -> None:
        if self.examples.is_regression or not self.examples.label_names:
            raise SettingError(f"{self.examples.origin}: attacks need classes, and these labels are quantities")
        if not 0 < self.share <= 1 or self.every < 1 or self.clean_epochs < 0:
            raise SettingError(
                f"share is {self.share}, every {self.every}, clean_epochs {self.clean_epochs}; the share is above 0 "
                "and at most 1, every at least 1, clean_epochs at least 0"
            )
        if self.examples.texts:
            check_frozen(self.frozen, len(self.examples.texts[0]))

    @property
    def blind(self) -> bool:
        """Whether the victim is never asked: every text counts then, not only those that break it."""
        return self.recipe.search is random_valid

    def made_in(self, epoch: int) -> int | None:
        """The epoch (from 0) whose texts an epoch trains on; None for a clean one."""
        since = epoch - self.clean_epochs
        return None if since < 0 else self.clean_epochs + since // self.every * self.every

    def rows(self, epoch: int) -> list[int]:
        """Numbers of the training rows that are attacked in an epoch, in order."""
        count = len(self.examples.texts)
        wanted = max(1, round(self.share * count))
        draw = np.random.default_rng(make_key("online rows", self.seed, epoch))
        return sorted(int(row) for row in draw.choice(count, wanted, replace=False))

    def enter(self, epoch: int, model: nn.Module, *, middle: bool) -> tuple[dict[int, Any], dict[str, Any] | None]:
        """The adversarial rows of an epoch, encoded, by row, and the report if it is the epoch in which they are made.

        They are made unless they are there: made by these very weights, or, in the middle of an epoch, at its
        beginning. The same on every process. RunError when a run goes on in the middle and they are gone.
        """
        made_in = self.made_in(epoch)
        if made_in is None:
            return {}, None
        due = made_in == epoch and not middle
        head = self._head(made_in, model if due else None)
        kept = _from_main(lambda: _read(self._path(made_in)))
        if kept is None or (due and kept["head"] != head):
            if not due:
                raise RunError(
                    f"{self._path(made_in)} is missing or damaged, and the run goes on after the epoch began in which "
                    "it was made; start the run anew with another --output"
                )
            kept = self._make(made_in, model, head)
        report = {**kept["report"], "made_now": kept.get("new", False)}
        return self._encoded(kept["texts"]), report if due else None

    def reports(self) -> list[dict[str, Any]]:
        """What was made and what it cost, of every epoch that has texts."""
        found = [_read(path) for path in self.folder.glob("epoch-*.json")]
        return sorted((one["report"] for one in found if one is not None), key=lambda report: report["epoch"])

    # how it is done

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}.json"

    def _head(self, epoch: int, model: nn.Module | None) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "weights": _from_main(lambda: None if model is None else fingerprint(model)),
            "data": self.examples.digest,
            **json.loads(json.dumps(self.recipe.describe())),
            "share": self.share,
            "query_budget": self.query_budget,
            "seed": self.seed,
            **({"frozen": list(self.frozen)} if self.frozen else {}),  # older runs, which know no such thing, go on
        }

    def _make(self, epoch: int, model: nn.Module, head: dict[str, Any]) -> dict[str, Any]:
        record = Record(self.folder, f"epoch-{epoch}.attack", head)
        if world.rank() == 0:
            _forget_other(record)
        world.wait()
        began = time.perf_counter()
        rows = self.rows(epoch)
        with undisturbed(model):
            victim = ModelVictim(model, self.tokenizer, max_length=self.max_length)
            mine = self._sampled(epoch, victim, rows) if self.blind else self._attacked(epoch, victim, rows, record)
        mine["seconds"] = time.perf_counter() - began
        parts = gather_object([mine])
        texts = dict(sorted((row, fields) for part in parts for row, fields in part["texts"]))
        total = {name: sum(part[name] for part in parts) for name in ("attacked", "right", "queries")}
        report = {
            "epoch": epoch,
            "attack": self.recipe.name,
            "rows": total["attacked"],
            "right": None if self.blind else total["right"],
            "adversarial": len(texts),
            "success_rate": None if self.blind else len(texts) / max(total["right"], 1),
            "queries_mean": total["queries"] / max(total["attacked"], 1),
            "labels": self._labels(texts),
            "seconds": max(part["seconds"] for part in parts),
        }
        made = {"head": head, "report": report, "texts": [[row, list(fields)] for row, fields in texts.items()]}
        if world.rank() == 0:
            _write(self._path(epoch), made)
            for path in record.paths():
                path.unlink()
        world.wait()
        if not texts:
            warnings.warn(
                f"after {epoch} epochs {self.recipe.name} made no adversarial text out of {total['attacked']} rows, "
                "so the next epoch is plain training; attack more of them (share), with more queries (query_budget) or "
                "another attack (online)",
                SparringWarning,
                stacklevel=2,
            )
        return {**made, "new": True}

    def _attacked(self, epoch: int, victim: ModelVictim, rows: list[int], record: Record) -> dict[str, Any]:
        """This process's share of the rows, attacked; only texts that break the victim."""
        pairs = [(self.examples.texts[row], int(self.examples.labels[row])) for row in rows]
        results = attack(
            victim,
            pairs,
            self.recipe,
            budget=self.query_budget,
            seed=make_key("online", self.seed, epoch),
            frozen=self.frozen,
            record=record,
            progress=self.progress,
        )
        outcomes = results.outcomes
        return {
            "texts": [(rows[o.row], o.adversarial) for o in outcomes if o.status == "success"],
            "attacked": len(outcomes),
            "right": sum(o.status != "skipped" for o in outcomes),
            "queries": sum(o.queries for o in outcomes),
        }

    def _sampled(self, epoch: int, victim: ModelVictim, rows: list[int]) -> dict[str, Any]:
        """This process's share of the rows, changed without a look at the victim."""
        bound = self.recipe.bound(victim)
        mine = rows[world.rank() :: world.size()]
        seed = make_key("online", self.seed, epoch)

        def searches() -> Iterator[tuple[int, Any]]:
            for row in mine:
                text = Text.of(*self.examples.texts[row], frozen=self.frozen)
                game = Game(text, int(self.examples.labels[row]), victim, seed=seed, row=row)
                yield row, bound.search(game, bound.transform, bound.constraints)

        found = {}
        for done, (row, text) in enumerate(play(searches(), memory=Memory()), 1):
            if text is not None:
                found[row] = text.fields
            if self.progress is not None:
                self.progress(done, len(mine), len(found))
        return {"texts": sorted(found.items()), "attacked": len(mine), "right": 0, "queries": 0}

    def _encoded(self, texts: list[list[Any]]) -> dict[int, Any]:
        if not texts:
            return {}
        numbers = [row for row, _ in texts]
        labels: Any = tuple(self.examples.labels[row] for row in numbers)
        fields = tuple(tuple(one) for _, one in texts)
        encoded = encode(self.tokenizer, replace(self.examples, texts=fields, labels=labels), self.max_length)
        return dict(zip(numbers, encoded, strict=True))

    def _labels(self, texts: Mapping[int, Any]) -> dict[str, int]:
        counts = np.bincount(
            [int(self.examples.labels[row]) for row in texts], minlength=len(self.examples.label_names)
        )
        return dict(zip(self.examples.label_names, counts.tolist(), strict=True))


def fingerprint(model: nn.Module) -> str:
    """A hash of all weights and buffers, the same on every machine for the same bits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """The model answers in full precision inside the block, and training does not notice it.

    accelerate puts autocast around `forward` for good; the master weights are asked without it. Global random state is
    as it was afterwards. (Modes are the victim's business, and gradients of weights are never taken.)
    """
    patched, plain = model.__dict__.get("forward"), model.__dict__.get("_original_forward")
    devices = [next(model.parameters()).device] if next(model.parameters()).is_cuda else []
    with torch.random.fork_rng(devices=devices):
        if patched is not None and plain is not None:
            model.forward = plain
        try:
            yield
        finally:
            if patched is not None and plain is not None:
                model.forward = patched


def _from_main(make: Callable[[], Any]) -> Any:
    """What the main process makes of it, on every process."""
    if world.size() == 1:
        return make()
    return broadcast_object_list([make() if world.rank() == 0 else None])[0]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.keys() >= {"head", "report", "texts"} else None


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except WRITE_ERRORS as error:
        raise RunError(f"cannot write to {path.parent}: {reason(error)}") from error
    write_json(path, content)


def _forget_other(record: Record) -> None:
    """Lines of an attack on other weights are of no use: a run that went on from an earlier checkpoint left them."""
    try:
        record.read()
    except RunError:
        for path in record.paths():
            path.unlink()
