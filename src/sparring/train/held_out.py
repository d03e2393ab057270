"""Scores on held-out text while a language model trains, and at its end.

The blocks and their masks are the same for every run with the same text, tokenizer and length: 15 % of the tokens are
masked, whatever the run's own masking, and the seed of the run plays no part. So runs can be compared.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import TrainerCallback

from ..data.batch import Batch
from ..data.corpus import Corpus
from ..data.masking import Masking, next_tokens
from ..data.packing import Lanes
from ..errors import ModelError
from ..evaluate.language import held_out
from ..model import world
from ..model.weights import settle
from .trainer import AdversarialTrainer

RATE, SEED = 0.15, 0


def held_out_batches(
    corpus: Corpus, tokenizer: Any, *, causal: bool, length: int, blocks: int, batch_size: int
) -> list[Batch]:
    """This process's share of the first `blocks` blocks of a corpus, on the CPU; as many batches as the others have.

    Raises DataError for a corpus that does not fill one block.
    """
    found = _first_blocks(corpus, tokenizer, causal=causal, length=length, count=blocks)
    masking = None if causal else Masking(tokenizer, RATE)
    batches = []
    for first in range(0, len(found), batch_size * world.size()):
        rows = range(first, min(first + batch_size * world.size(), len(found)))
        own = [row for row in rows if row % world.size() == world.rank()]
        taken = [found[row] for row in own or rows[:1]]
        ids, segments = [block.ids for block in taken], [block.segments for block in taken]
        inputs = (
            next_tokens(ids, segments)
            if masking is None
            else masking(ids, segments, seed=SEED, step=0, total=1, rows=own or rows[:1])
        )
        batch = Batch.from_inputs(inputs, shift=causal)
        batches.append(batch if own else batch.first(0))  # every process takes part in every pass
    return batches


def _first_blocks(corpus: Corpus, tokenizer: Any, *, causal: bool, length: int, count: int) -> list[Any]:
    """At most `count` blocks of one pass over the corpus, in its order; what does not fill a block is left out."""
    lanes = Lanes(
        corpus,
        tokenizer,
        length=length,
        lanes=range(1),
        all_lanes=1,
        seed=SEED,
        shuffle=0,
        style="causal" if causal else "bert",
    )
    return list(itertools.takewhile(lambda block: not block.epoch, (next(lanes)[0] for _ in range(count))))


class HeldOut(TrainerCallback):  # type: ignore[misc]
    """Logs the loss on held-out blocks every so many steps. One that is not finite is logged too: training goes on."""

    def __init__(self, trainer: AdversarialTrainer, batches: Sequence[Batch], every: int) -> None:
        self.trainer, self.batches, self.every = trainer, batches, every

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after an update."""
        if not self.batches or (state.global_step % self.every and state.global_step < state.max_steps):
            return
        view = self.trainer.engine.view
        passes, view.passes = view.passes, 0
        try:
            found = self._score(view)
        except ModelError:  # the weights have diverged, and may come back; the loss says so in the log
            found = {"loss": math.nan}
        view.passes = passes
        due = control.should_log
        self.trainer.log({f"held_out_{name}": round(value, 6) for name, value in found.items() if name != "targets"})
        control.should_log = due  # that of the step itself, which the Trainer takes for done with any log

    def final(self) -> dict[str, Any]:
        """The scores of the finished model, in float32, as metrics.json holds them; empty without held-out text.

        Raises ModelError when the loss is not finite.
        """
        if not self.batches:
            return {}
        model = self.trainer.accelerator.unwrap_model(self.trainer.model, keep_fp32_wrapper=False)
        return {"held_out": self._score(model)}

    def _score(self, model: Any) -> dict[str, float]:
        device = self.trainer.args.device
        try:
            return held_out(model, (_on(batch, device) for batch in self.batches), everywhere=True)
        finally:
            settle(self.trainer.model)


def _on(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    names = ("real", "perturbable", "scored", "targets", "rows", "segments")
    moved: dict[str, Any] = {name: x.to(device) for name in names if (x := getattr(batch, name)) is not None}
    return replace(batch, inputs={name: x.to(device) for name, x in batch.inputs.items()}, **moved)
