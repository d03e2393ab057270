"""What is asked of a pre-trained model: minimal pairs, pseudo-perplexity, and fine-tuning on tasks as a third stage."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..data.corpus import Corpus
from ..errors import DataError, SettingError
from ..evaluate.pairs import Pair, minimal_pairs, read_pairs
from ..methods import method
from ..model import world
from ..model.weights import settle
from . import folder as run_folder
from .finetune import finetune, load_data
from .held_out import held_out_pseudo_perplexity
from .options import FineTune
from .pretrain_options import Pretrain
from .trainer import AdversarialTrainer

FOLDER = "finetune"

Report = Callable[[str], None]


@dataclass(frozen=True)
class FollowUp:
    """What to ask, read and checked before training begins."""

    settings: Pretrain
    pairs: tuple[Pair, ...]
    runs: tuple[FineTune, ...]
    """Fine-tunings, in their order."""

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
        return cls(settings, tuple(pairs), tuple(runs))

    def scores(
        self,
        trainer: AdversarialTrainer,
        tokenizer: Any,
        held_out: Corpus | None,
        progress: Callable[[str, int, int], None],
    ) -> dict[str, Any]:
        """Minimal pairs and pseudo-perplexity of the finished model, in float32, where they are asked for."""
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        causal = self.settings.objective == "clm"
        found: dict[str, Any] = {}
        if held_out is not None and not causal and self.settings.pseudo_texts:
            pseudo = held_out_pseudo_perplexity(
                model, tokenizer, held_out, length=self.settings.length, texts=self.settings.pseudo_texts
            )
            found["pseudo"] = pseudo
        if self.pairs:
            done = 0

            def count(rows: int) -> None:
                nonlocal done
                done += rows
                progress("scoring minimal pairs", done, 0)

            scored = minimal_pairs(model, tokenizer, self.pairs, causal=causal, begin=causal, progress=count)
            found["minimal_pairs"] = scored.summary()
        settle(model)
        return found

    def finetune(self, report: Report, callbacks: Sequence[TrainerCallback]) -> dict[str, Any]:
        """Train and score on each task; a run that is finished is not made again, one that was cut off goes on."""
        found: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            folder = Path(run.output)
            finished = folder / run_folder.METRICS
            if finished.is_file():
                metrics = json.loads(finished.read_text(encoding="utf-8"))
            else:
                report(f"fine-tuning on {run.data} with {run.method}")
                resume = (folder / run_folder.RUN).is_file()
                if folder.exists() and not resume and world.announced_rank() == 0:
                    shutil.rmtree(folder)
                metrics = finetune(run, resume=resume, callbacks=list(callbacks), report=report)
            found.setdefault(run.data, {})[run.method] = metrics["eval"]
        return {"finetune": found} if found else {}


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _slug(data: str) -> str:
    """A folder name for a task or file."""
    return re.sub(r"[^\w.-]+", "-", Path(data).name if "/" in data else data).strip("-.") or "data"
