"""The victim: anything that gives class scores to texts, made into services that answer many texts at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from threading import Barrier
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..adapters.load import load_trained
from ..adapters.mixture import AdapterMixture
from ..data.batch import Batch
from ..errors import ModelError, SparringError
from ..model.load import fast_bf16, first_line, load_tokenizer, longest_text
from ..model.view import ModelView, evaluating
from ..perturb.inner import gradient_of
from ..settings import read_yaml
from .batching import attended, batches, filled
from .engine import Service
from .fast import fast
from .text import encodable

Fields = tuple[str, ...]
SENTENCES: tuple[Fields, ...] = tuple(
    (sentence,)
    for sentence in (
        "Good.",
        "Never again!",
        "The film was a pleasure from the first minute to the last.",
        "I want my money back.",
        "Shares fell by three percent after the bank had published its figures for the second quarter.",
        "How do I get a new card if mine was stolen?",
        "a dull plot , wooden dialogue , and not one laugh",
        "The team won in extra time, and nobody in the town slept that night.",
        "Water boils at a lower temperature in the mountains.",
        "He said that he would come, but he did not, and nobody was surprised.",
        "Play some jazz in the kitchen.",
        "It is neither as bad as they say nor as good as its makers think, though the music alone is worth the ticket.",
    )
)
"""On which the error of half precision is measured: of several kinds and lengths, of no data set."""
T = TypeVar("T")
R = TypeVar("R")


@runtime_checkable
class Victim(Protocol):
    """What an attack needs of a victim. Answers are (C,) float64 log-probabilities, one array a text."""

    quick: Service
    """Scores of candidates: in half precision where that is faster."""
    exact: Service
    """A fresh forward in full precision: of every text that is claimed to break it."""
    gradient: Service | None
    """Items (fields, gold) to `TokenGradient`; None for a black box."""
    unknown: str
    """A word that the victim does not know, such as "[UNK]"."""

    @property
    def doubt(self) -> float:
        """By how much a margin of log-probabilities that `quick` gives may be off, where those of the text are around
        1; where they are larger, by as much more. Where a clean answer or the end of a game depends on a smaller one,
        `exact` is asked."""


@dataclass(frozen=True, eq=False)
class TokenGradient:
    """How the loss changes with the word embedding of each token."""

    ids: np.ndarray
    """(L,) token ids."""
    spans: tuple[tuple[int, int, int] | None, ...]
    """(field, start, end) in characters of what each token stands for; None for special tokens."""
    gradient: np.ndarray
    """(L, D) float32, d cross entropy of the gold label / d word embedding, in eval mode."""


class ModelVictim:
    """A Hugging Face classifier with its tokenizer. It runs in eval mode, and its own modes are restored.

    max_length: longest text in tokens, longer ones are cut; default what the model takes. tokens: padded tokens in a
    batch, default 1,024 on a processor and 65,536 on a GPU. batch: most texts in one. half: answer candidates in
    bfloat16; default where the hardware multiplies it.
    Raises ModelError for a model with fewer than two classes, and later for scores that are not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        tokens: int | None = None,
        batch: int | None = None,
        half: bool | None = None,
    ) -> None:
        self.model, self.tokenizer, self.batch = model, tokenizer, batch
        self.max_length = longest_text(model, tokenizer, max_length or 512)
        self.tokens = tokens or (65_536 if self.device.type == "cuda" else 1_024)
        self.half = fast_bf16() if half is None else half
        self.classes = int(getattr(model.config, "num_labels", 2))
        if self.classes < 2:
            raise ModelError(
                f"{type(model).__name__} gives one number, and attacks need a classifier of two classes or more"
            )
        self.exact: Service = _Forward(self, "victim, exact", quick=False)
        self.quick: Service = _Forward(self, "victim", quick=True)
        self.gradient: Service | None = _Gradients(self)
        self.unknown = tokenizer.unk_token or "[UNK]"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @cached_property
    def doubt(self) -> float:
        """In half precision four times the largest error in a margin of this model's on a few sentences: scores that
        are large, as those of an overconfident model are, err by more. At least 0.15, about the largest error in the
        margins of a fine-tuned MiniLM."""
        if not self.half:
            return 1e-3
        quick, exact = (np.stack(service.answer(SENTENCES)) for service in (self.quick, self.exact))
        return max(0.15, 4 * float(np.ptp(quick - exact, axis=1).max()))

    @cached_property
    def embedding(self) -> np.ndarray:
        """(V, D) float32, the word-embedding table."""
        table: Tensor = self.model.get_input_embeddings().weight  # type: ignore[operator]
        return table.detach().float().cpu().numpy()

    @cached_property
    def fast(self) -> nn.Module:
        """What answers candidates: the model with less arithmetic, in bfloat16 if `half`."""
        return fast(self.model, half=self.half)

    def encode(self, items: Sequence[Fields], **more: Any) -> Any:
        """Token ids and whatever else the model takes, unpadded, one list a text."""
        columns = [[encodable(field) for field in column] for column in zip(*items, strict=True)]
        return self.tokenizer(
            *columns, padding=False, truncation=True, max_length=self.max_length, return_attention_mask=False, **more
        )

    def batches(self, encoded: Any) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Positions and padded inputs, texts of similar length together, the longest first."""
        lengths = [len(ids) for ids in encoded["input_ids"]]
        for places, longest in batches(lengths, self.tokens, threads=self.threads, most=self.batch):
            yield places, self._padded(encoded, places, longest)

    @property
    def threads(self) -> int:
        """How many batches are computed at a time."""
        parallel = self.device.type == "cpu" and isinstance(self.model, PreTrainedModel | AdapterMixture)
        return torch.get_num_threads() if parallel else 1

    def each(self, function: Callable[[T], R], batches: Iterable[T]) -> Iterable[R]:
        """The function of every batch, in order; on a processor each of its threads takes a batch of its own.

        One batch on several threads waits for the slowest at every layer, and on a machine that does something else
        besides it waits spinning.
        """
        return map(function, batches) if self.threads == 1 else _workers(self.threads).map(function, batches)

    def _padded(self, encoded: Any, places: list[int], longest: int) -> dict[str, Tensor]:
        ids = [encoded["input_ids"][place] for place in places]
        inputs = {"input_ids": filled(ids, longest, self.tokenizer.pad_token_id)}
        if "token_type_ids" in encoded:
            types = [encoded["token_type_ids"][place] for place in places]
            inputs["token_type_ids"] = filled(types, longest, self.tokenizer.pad_token_type_id)
        if min(map(len, ids)) < longest or not isinstance(self.model, PreTrainedModel):
            inputs["attention_mask"] = attended(ids, longest)
        return {name: x.to(self.device) for name, x in inputs.items()}


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    """Threads that compute with one thread each. They are begun here: how many threads torch uses is set for those to
    come as well as for the one that sets it, and has to be set back.
    """
    executor = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    all_there = Barrier(threads + 1)
    for _ in range(threads):
        executor.submit(all_there.wait)
    all_there.wait()
    torch.set_num_threads(threads)
    return executor


@contextmanager
def _named(model: nn.Module) -> Iterator[None]:
    """Whatever a model raises as a ModelError: what was finished by then is kept, and the attack can go on from it."""
    try:
        yield
    except SparringError:
        raise
    except Exception as error:
        raise ModelError(f"{type(model).__name__} raised {type(error).__name__}: {first_line(error)}") from error


class _Forward:
    """Forward passes over a list of texts."""

    def __init__(self, victim: ModelVictim, name: str, *, quick: bool) -> None:
        self.victim, self.name, self.quick, self.remembered = victim, name, quick, quick

    def answer(self, items: Sequence[Fields]) -> list[np.ndarray]:
        """(C,) log-probabilities a text."""
        victim = self.victim
        with _named(victim.model):
            encoded = victim.encode(items)
            found = self._scores(victim.fast if self.quick else victim.model, encoded, len(items))
        _check(found, items, type(victim.model).__name__)
        return list(found)

    def _scores(self, model: nn.Module, encoded: Any, rows: int) -> np.ndarray:
        found = np.empty((rows, self.victim.classes))

        def forward(batch: tuple[list[int], dict[str, Tensor]]) -> tuple[list[int], Tensor]:
            with torch.inference_mode():  # of this thread
                return batch[0], model(**batch[1]).logits

        with evaluating(model):
            for places, logits in self.victim.each(forward, self.victim.batches(encoded)):
                if logits.shape != (len(places), self.victim.classes):
                    raise ModelError(
                        f"{type(model).__name__} gave scores of shape {tuple(logits.shape)} to {len(places)} texts; "
                        f"({len(places)}, {self.victim.classes}) is expected: is it a text classifier?"
                    )
                found[places] = logits.double().log_softmax(-1).cpu().numpy()
        return found


class _Gradients:
    """Gradients of the loss with respect to word embeddings, in full precision and eval mode, for the gold label.

    TextAttack takes them in train mode, for the predicted label, and leaves the model changed; no weight's gradient is
    touched here.
    """

    name, remembered = "victim, gradient", True

    def __init__(self, victim: ModelVictim) -> None:
        self.victim = victim

    def answer(self, items: Sequence[tuple[Fields, int]]) -> list[TokenGradient]:
        """One `TokenGradient` for each (fields, gold)."""
        with _named(self.victim.model):
            return self._answer(items)

    def _answer(self, items: Sequence[tuple[Fields, int]]) -> list[TokenGradient]:
        victim = self.victim
        fields = [item[0] for item in items]
        encoded = victim.encode(fields, return_offsets_mapping=True)
        offsets = encoded.pop("offset_mapping")
        found: list[TokenGradient | None] = [None] * len(items)
        view = ModelView(victim.model, site="word")
        try:
            with evaluating(victim.model):
                for rows, inputs in victim.batches(encoded):
                    labels = torch.tensor([items[row][1] for row in rows], device=victim.device)
                    gradient = self._gradient(view, Batch.from_inputs({**inputs, "labels": labels}))
                    for place, row in enumerate(rows):
                        ids = np.array(encoded["input_ids"][row])
                        fields_of = encoded.sequence_ids(row)
                        spans = tuple(
                            None if field is None or start == end else (int(field), int(start), int(end))
                            for field, (start, end) in zip(fields_of, offsets[row], strict=True)
                        )
                        found[row] = TokenGradient(ids, spans, gradient[place, : len(ids)])
        finally:
            view.remove()
        return [gradient for gradient in found if gradient is not None]

    def _gradient(self, view: ModelView, batch: Batch) -> np.ndarray:
        def loss(delta: Tensor) -> Tensor:
            return nn.functional.cross_entropy(view.probe(batch, delta).double(), batch.targets, reduction="sum")

        return gradient_of(loss, view.zeros(batch)).float().cpu().numpy()


class CallableVictim:
    """A black box: a function of a list of texts that gives (N, C) class scores, probabilities or logits.

    Texts are strings, or tuples of strings for pairs. Rows that are not negative and sum to 1 in the first answer mean
    probabilities, for good; anything else means logits. batch_size: most texts in one call.
    """

    gradient: Service | None = None
    unknown = "[UNK]"
    doubt = 0.0  # both services call the same function

    def __init__(self, function: Callable[[list[Any]], Any], *, batch_size: int = 256) -> None:
        self.function, self.batch_size = function, batch_size
        self.probabilities: bool | None = None
        self.calls = 0
        self.quick: Service = _Call(self, "victim", remembered=True)
        self.exact: Service = _Call(self, "victim, exact", remembered=False)


class _Call:
    """Calls of a function, and checks of what it gives."""

    def __init__(self, victim: CallableVictim, name: str, *, remembered: bool) -> None:
        self.victim, self.name, self.remembered = victim, name, remembered
        self.classes: int | None = None

    def answer(self, items: Sequence[Fields]) -> list[np.ndarray]:
        """(C,) log-probabilities a text."""
        found: list[np.ndarray] = []
        for first in range(0, len(items), self.victim.batch_size):
            found += self._call(items[first : first + self.victim.batch_size])
        return found

    def _call(self, items: Sequence[Fields]) -> list[np.ndarray]:
        victim = self.victim
        victim.calls += 1
        texts = [item[0] if len(item) == 1 else item for item in items]
        try:
            raw = victim.function(texts)
            scores = np.asarray(raw.detach().cpu() if isinstance(raw, Tensor) else raw, dtype=np.float64)
        except Exception as error:  # whatever a stranger's function raises is about the victim, not about the attack
            raise ModelError(
                f"the victim raised {type(error).__name__} on its call number {victim.calls}: {error}"
            ) from error
        if scores.ndim != 2 or len(scores) != len(items) or scores.shape[1] < 2:
            raise ModelError(
                f"the victim gave scores of shape {scores.shape} to {len(items)} texts; give one row a text and one "
                f"column a class, ({len(items)}, number of classes)"
            )
        _check(scores, items, "the victim")
        if self.classes not in (None, scores.shape[1]):
            raise ModelError(f"the victim gave {scores.shape[1]} scores a text after {self.classes} in earlier calls")
        self.classes = scores.shape[1]
        if victim.probabilities is None:
            victim.probabilities = bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3))
        if victim.probabilities:
            scores = np.log(np.maximum(scores, np.finfo(np.float64).tiny))
        return list(log_softmax(scores, axis=1))


def as_victim(victim: Any, **settings: Any) -> Victim:
    """Anything that can be attacked, as a `Victim`.

    victim: a `Victim`; a (model, tokenizer) pair; a Hugging Face classifier, whose tokenizer is loaded by its name; a
    text-classification pipeline; the folder of a run; or any function of a list of texts. settings: of `ModelVictim`.
    """
    if isinstance(victim, ModelVictim | Victim):  # in this order: a protocol looks at each attribute, and one is dear
        return victim
    if isinstance(victim, str | Path):
        model, tokenizer = load_trained(victim)
        described = Path(victim) / "run.yaml"  # a model that sparring trained saw texts of that length
        if described.is_file():
            trained = read_yaml(described).get("settings") or {}
            settings.setdefault("max_length", int(trained.get("max_length", 128)))
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        return ModelVictim(model, tokenizer, **settings)
    if isinstance(victim, tuple) and len(victim) == 2 and isinstance(victim[0], nn.Module):
        return ModelVictim(*victim, **settings)
    if isinstance(getattr(victim, "model", None), nn.Module) and getattr(victim, "tokenizer", None) is not None:
        return ModelVictim(victim.model, victim.tokenizer, **settings)
    if isinstance(victim, nn.Module) and getattr(victim, "config", None) is not None:
        return ModelVictim(victim, load_tokenizer(str(victim.config.name_or_path)), **settings)  # type: ignore[union-attr]
    if callable(victim):
        return CallableVictim(victim)
    raise ModelError(
        f"cannot attack a {type(victim).__name__}; give a (model, tokenizer) pair, a run folder, a text-classification "
        "pipeline, or a function of a list of texts that gives class scores"
    )


def _check(scores: np.ndarray, items: Sequence[Fields], who: str) -> None:
    best = scores.max(axis=1)  # NaN where there is one; -inf is a score, as long as another class has more
    bad = np.flatnonzero(~np.isfinite(best))
    if len(bad):
        raise ModelError(
            f"{who} gave a score that is not a number to {items[bad[0]]!r:.200}; the weights have diverged"
        )
