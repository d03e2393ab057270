"""What is asked of a pre-trained model: minimal pairs, pseudo-perplexity, and fine-tuning on tasks as a third stage.

Fine-tuned models are scored on held-out rows, clean and under attack.
"""

import itertools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..attack.recipes import recipe
from ..data.corpus import Corpus
from ..data.packing import Encoder
from ..errors import DataError, ModelError, SettingError
from ..evaluate.language import encode_sentences, pseudo_perplexity, score_sentences
from ..evaluate.pairs import Pair, minimal_pairs, read_pairs
from ..evaluate.robust import EmbeddingAttack
from ..methods import method
from ..model import world
from ..model.weights import settle
from ..settings import multiple
from . import folder as run_folder
from .data import load_data
from .finetune import finetune
from .options import FineTune
from .pretrain_options import Pretrain
from .robustness import Robustness
from .trainer import AdversarialTrainer

FOLDER = "finetune"

Report = Callable[[str], None]
Progress = Callable[[str, int, int], None]
_UNSCORABLE = (DataError, SettingError, ModelError)
"""What is reported in place of a score, alike on all processes. A full disk is not: a resumed run tries again."""


@dataclass(frozen=True)
class FollowUp:
    """What to ask, read and checked before training begins."""

    settings: Pretrain
    pairs: tuple[Pair, ...]
    runs: tuple[FineTune, ...]
    """Fine-tunings, in their order."""
    robustness: Robustness
    """What the models that they end in are attacked with."""

    @classmethod
    def of(cls, settings: Pretrain) -> "FollowUp":
        """Raises what would otherwise go wrong after hours of training: a task, method or file that does not exist."""
        pairs = read_pairs(settings.minimal_pairs) if settings.minimal_pairs else []
        runs = []
        methods, output = _listed(settings.finetune_methods), Path(settings.output)
        for name in methods:
            method(name)
        for data in _listed(settings.finetune or ""):
            for name in methods:
                run = FineTune(
                    model=settings.output,
                    data=data,
                    method=name,
                    epochs=settings.finetune_epochs,
                    learning_rate=settings.finetune_learning_rate,
                    batch_size=settings.finetune_batch_size,
                    max_length=settings.finetune_length,
                    limit=settings.finetune_limit,
                    precision=settings.precision,
                    seed=settings.seed,
                    output=str(output / FOLDER / f"{_slug(data)}-{name}"),
                )
                runs.append(run)
            if load_data(runs[-1]).held_out is None:
                raise DataError(
                    f"{data} has no held-out rows to score a fine-tuning on; name a task with a dev split, or "
                    "fine-tune afterwards with sparring train --eval-data"
                )
        folders = [run.output for run in runs]
        if len(set(folders)) < len(folders):
            raise SettingError(f"Pretrain: setting 'finetune' is {settings.finetune!r}; two of the names are the same")
        return cls(settings, tuple(pairs), tuple(runs), _robustness(settings, bool(runs)))

    def check(self, model: Any, tokenizer: Any) -> None:
        """DataError for a minimal pair that the model, which need not be trained, cannot read."""
        sentences = [sentence for pair in self.pairs for sentence in (pair.good, pair.bad)]
        try:
            encode_sentences(tokenizer, sentences, model, begin=self._begins(tokenizer))
        except DataError as error:
            raise DataError(f"{self.settings.minimal_pairs}: {error}") from error

    def _begins(self, tokenizer: Any) -> bool:
        """Whether a causal model learns documents with the tokenizer's beginning-of-text token in front."""
        start = tokenizer.bos_token_id
        if self.settings.objective != "clm" or start is None:
            return False
        return start in Encoder(tokenizer, "causal").before.tolist()

    def scores(
        self,
        trainer: AdversarialTrainer,
        tokenizer: Any,
        held_out: Corpus | None,
        report: Report,
        progress: Progress,
    ) -> dict[str, Any]:
        """Minimal pairs and pseudo-perplexity of the finished model, in float32, where they are asked for.

        "not_scored" says why, of each that could not be scored.
        """
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        causal = self.settings.objective == "clm"
        found: dict[str, Any] = {}
        if held_out is not None and not causal and self.settings.pseudo_texts:
            try:
                found["pseudo"] = self._pseudo(model, tokenizer, held_out)
            except _UNSCORABLE as error:
                _failed(found, "pseudo", error, report)
        if self.pairs:
            done, begin = 0, self._begins(tokenizer)

            def count(rows: int) -> None:
                nonlocal done
                done += rows
                progress("scoring minimal pairs", done, 0)

            if causal and not begin:
                report(
                    "minimal pairs: the first token of a sentence is not scored, it had nothing in front in training"
                )
            try:
                scored = minimal_pairs(model, tokenizer, self.pairs, causal=causal, begin=begin, progress=count)
                found["minimal_pairs"] = scored.summary() | ({"first_token_scored": begin} if causal else {})
            except _UNSCORABLE as error:
                _failed(found, "minimal_pairs", error, report)
        settle(model)
        return found

    def _pseudo(self, model: Any, tokenizer: Any, held_out: Corpus) -> dict[str, float]:
        """Over the first documents, of each as much as fits into a block."""
        chosen = list(itertools.islice(held_out.reader(), self.settings.pseudo_texts))
        scores = score_sentences(model, tokenizer, chosen, causal=False, cut=self.settings.length)
        return {"pseudo_perplexity": pseudo_perplexity(scores), "texts": sum(score.tokens > 0 for score in scores)}

    def finetune(self, report: Report, callbacks: Sequence[TrainerCallback], progress: Progress) -> dict[str, Any]:
        """Train, score and attack on each task; what is finished is not made again, what was cut off goes on."""
        found: dict[str, dict[str, Any]] = {}
        failed: dict[str, Any] = {}
        for run in self.runs:
            # The first process looks for all: once it has begun to write, another would find something else.
            metrics, resume = world.from_first(partial(_begun, Path(run.output)))
            if metrics is None:
                report(f"fine-tuning on {run.data} with {run.method}")
                try:
                    metrics = finetune(run, resume=resume, callbacks=list(callbacks), report=report)
                except _UNSCORABLE as error:
                    _failed(failed, f"finetune {run.data} {run.method}", error, report)
                    continue
            held = self._held(run, failed, report, progress)
            found.setdefault(run.data, {})[run.method] = metrics["eval"] | held
        return {**({"finetune": found} if found else {}), **failed}

    def _held(self, run: FineTune, failed: dict[str, Any], report: Report, progress: Progress) -> dict[str, Any]:
        """How a fine-tuned model stands attacks on held-out rows."""
        examples = load_data(run).held_out
        if examples is None or examples.is_regression:
            report(f"{run.data}: not attacked, attacks need classes and its labels are quantities")
            return {}
        try:
            return self.robustness.of(Path(run.output), examples, progress)
        except _UNSCORABLE as error:
            _failed(failed, f"attack {run.data} {run.method}", error, report)
            return {}


def _robustness(settings: Pretrain, asked: bool) -> Robustness:
    """What the settings name; SettingError or DataError for an attack that there is not, or that lacks a resource."""
    name, radius = settings.finetune_attack, settings.finetune_radius
    known = recipe(name, seed=settings.seed) if asked and name != "none" else None
    curve = EmbeddingAttack(radii=(radius,), seed=settings.seed) if multiple(radius)[0] > 0 else None
    return Robustness(known, curve, settings.finetune_rows)


def _begun(folder: Path) -> tuple[dict[str, Any] | None, bool]:
    """Metrics of a fine-tuning that is finished, and whether one was begun; what is left of none is removed."""
    finished = folder / run_folder.METRICS
    if finished.is_file():
        return json.loads(finished.read_text(encoding="utf-8")), True
    resume = (folder / run_folder.RUN).is_file()
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    return None, resume


def _failed(found: dict[str, Any], what: str, error: Exception, report: Report) -> None:
    """Note why something has no score."""
    found.setdefault("not_scored", {})[what] = str(error)
    report(f"{what}: not scored: {error}")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _slug(data: str) -> str:
    """A folder name for a task or file."""
    return re.sub(r"[^\w.-]+", "-", Path(data).name if "/" in data else data).strip("-.") or "data"
