"""What a language model knows: held-out loss and perplexity, and the scores it gives to sentences.

A sentence's score is log p(sentence) of a causal model, and the pseudo-log-likelihood of a masked one: the sum over its
tokens of log p(token | all others), each with the token masked (Salazar et al., ACL 2020). In the variant "word_l2r"
(Kauf and Ivanova, ACL 2023) the later tokens of the same word are masked with it, because the rest of a word gives it
away, so that words of many tokens seem likelier than they are.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..data.batch import IGNORED, Batch
from ..data.masking import word_borders
from ..errors import DataError, ModelError, SettingError
from ..model import world
from ..model.load import longest_text
from ..model.view import ModelView, evaluating
from ..objective import wide

Variant = Literal["word_l2r", "token"]
_AT_ONCE = 256  # sentences whose rows are sorted by length together


def held_out(
    model: nn.Module | ModelView,
    batches: Iterable[Batch],
    *,
    autocast: torch.dtype | None = None,
    everywhere: bool = False,
) -> dict[str, float]:
    """Over all scored rows: "loss", the mean negative log-likelihood in nats; "perplexity", its exponential;
    "accuracy", the share whose likeliest token is the right one; "targets", their number.

    Of masked batches it is a loss of masked tokens, which depends on the masking; of causal ones that of the text.
    batches: on the model's device; one is in memory at a time. everywhere: each process has batches of its own, and all
    of them get the result for all.
    Raises DataError when there is no scored row, ModelError when the loss is not finite.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    with _view(model) as view, evaluating(view.model), torch.no_grad():
        for batch in batches:
            with _autocast(batch, autocast):
                logits = wide(view.probe(batch))
            right = (logits.argmax(-1) == batch.targets).sum()
            likely = _log_likelihoods(logits, batch.targets).double().sum()
            sums += torch.stack([-likely, right.double(), torch.full_like(likely, len(batch.targets))]).cpu()
        if everywhere and world.size() > 1:
            sums = world.total(sums.to(next(view.model.parameters()).device)).cpu()
        loss, right, targets = sums.tolist()
        if not targets:
            raise DataError("there is nothing to score: no held-out batch has a target")
        loss /= targets
        if not math.isfinite(loss):
            raise ModelError(f"{type(view.model).__name__}: the held-out loss is {loss}; the weights have diverged")
    return {"loss": loss, "perplexity": perplexity(loss), "accuracy": right / targets, "targets": targets}


def perplexity(loss: float) -> float:
    """exp(loss), infinite where that is too large a number."""
    return math.exp(loss) if loss < 700 else math.inf


@dataclass(frozen=True)
class Score:
    """Of one sentence: the sum of its tokens' log-likelihoods, in nats, and how many were scored."""

    total: float
    tokens: int


def score_sentences(
    model: nn.Module | ModelView,
    tokenizer: Any,
    sentences: Sequence[str],
    *,
    causal: bool,
    variant: Variant = "word_l2r",
    batch_size: int = 64,
    begin: bool = False,
    cut: int | None = None,
    autocast: torch.dtype | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Score]:
    """One score a sentence. Special tokens are read, as the tokenizer adds them, but not scored.

    causal: log p of each token after the first, given those before; without a beginning token the first cannot be
        scored. begin: put the tokenizer's beginning-of-text token in front, if it does not do so itself; for models
        that were trained on such texts. cut: for text as it comes: a longer one is cut to so many tokens, special
        ones included, and one without tokens scores 0.0, of 0; otherwise both are errors.
    variant: of masked models, see above. batch_size: rows in a forward pass; a masked model reads a sentence once a
        token, a causal one once. progress: called now and then with the number of sentences done since the last call.
    Raises DataError for a sentence without tokens or longer than the model can read, with its number from 1.
    """
    if variant not in ("word_l2r", "token"):
        raise SettingError(f"variant {variant!r} is unknown; choose word_l2r or token")
    totals, counts = np.zeros(len(sentences)), np.zeros(len(sentences), dtype=np.int64)
    with _view(model) as view, evaluating(view.model), torch.no_grad():
        device = next(view.model.parameters()).device
        encoded = encode_sentences(tokenizer, sentences, view.model, begin=begin and causal, cut=cut)
        make = _next_token_queries if causal else _masked_queries(tokenizer, variant)
        for start in range(0, len(encoded), _AT_ONCE):
            part = range(start, min(start + _AT_ONCE, len(encoded)))
            queries = [query for number in part for query in make(number, *encoded[number]) if query.ids]
            queries.sort(key=lambda query: -len(query.ids))
            for first in range(0, len(queries), batch_size):
                chunk = queries[first : first + batch_size]
                batch = _batch(chunk, tokenizer.pad_token_id or 0, device)  # what pads is never looked at
                with _autocast(batch, autocast):
                    logits = wide(view.probe(batch))
                likely = _log_likelihoods(logits, batch.targets).double().cpu().numpy()
                of = np.repeat([query.sentence for query in chunk], batch.scored.sum(1).cpu().numpy())
                np.add.at(totals, of, likely)
                np.add.at(counts, of, 1)
            if progress is not None:
                progress(len(part))
    if not np.isfinite(totals).all():
        raise ModelError("the model's scores are not finite; its weights have diverged")
    return [Score(float(total), int(count)) for total, count in zip(totals, counts, strict=True)]


def pseudo_perplexity(scores: Sequence[Score]) -> float:
    """exp of minus the mean score a token, over all sentences: of a causal model's scores its perplexity."""
    tokens = sum(score.tokens for score in scores)
    if not tokens:
        raise DataError("there is no token to score")
    return perplexity(-sum(score.total for score in scores) / tokens)


@dataclass(frozen=True)
class _Query:
    """One row of a forward pass."""

    sentence: int
    ids: list[int]
    labels: list[int]


def encode_sentences(
    tokenizer: Any, sentences: Sequence[str], model: nn.Module, *, begin: bool = False, cut: int | None = None
) -> list[tuple[list[int], list[bool]]]:
    """Ids of each sentence, and which of them are special tokens that the tokenizer or `begin` added.

    The settings and errors are those of `score_sentences`.
    """
    if not sentences:
        return []
    found = tokenizer(
        list(sentences),
        padding=False,
        truncation=cut is not None,
        max_length=cut,
        return_special_tokens_mask=True,
        verbose=False,
    )
    longest, start = longest_text(model, tokenizer, 10**9), tokenizer.bos_token_id
    if begin and start is None:
        raise SettingError("the tokenizer has no beginning-of-text token to put in front of a sentence")
    encoded = []
    for number, (ids, added) in enumerate(zip(found["input_ids"], found["special_tokens_mask"], strict=True), 1):
        ids, special = list(ids), [bool(x) for x in added]
        if begin and ids[:1] != [start]:
            ids, special = [start, *ids][:cut], [True, *special][:cut]
        if all(special) and cut is None:
            raise DataError(f"sentence {number} ({sentences[number - 1][:40]!r}) has no tokens to score")
        if len(ids) > longest:
            raise DataError(
                f"sentence {number} ({sentences[number - 1][:40]!r}) has {len(ids)} tokens, and the model reads at "
                f"most {longest}; leave it out"
            )
        encoded.append((ids, special))
    return encoded


def _next_token_queries(sentence: int, ids: list[int], special: list[bool]) -> Iterator[_Query]:
    labels = [IGNORED if skip else token for token, skip in zip(ids[1:], special[1:], strict=True)]
    yield _Query(sentence, ids, [*labels, IGNORED])


def _masked_queries(tokenizer: Any, variant: Variant) -> Callable[[int, list[int], list[bool]], Iterator[_Query]]:
    mask = tokenizer.mask_token_id
    if mask is None:
        raise SettingError("the tokenizer has no mask token; score sentences of a causal model with causal=True")
    starts, ends = word_borders(tokenizer)

    def make(sentence: int, ids: list[int], special: list[bool]) -> Iterator[_Query]:
        for place, token in enumerate(ids):
            if special[place]:
                continue
            stop = place + 1
            while variant == "word_l2r" and stop < len(ids) and not special[stop]:
                if starts[ids[stop]] or ends[ids[stop - 1]]:
                    break
                stop += 1
            read = [*ids[:place], *[mask] * (stop - place), *ids[stop:]]
            yield _Query(sentence, read, [token if i == place else IGNORED for i in range(len(ids))])

    return make


def _batch(queries: Sequence[_Query], pad: int, device: torch.device) -> Batch:
    longest = max(len(query.ids) for query in queries)

    def padded(rows: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([row + [fill] * (longest - len(row)) for row in rows], device=device)

    return Batch.from_inputs(
        {
            "input_ids": padded([query.ids for query in queries], pad),
            "attention_mask": padded([[1] * len(query.ids) for query in queries], 0),
            "labels": padded([query.labels for query in queries], IGNORED),
        }
    )


def _log_likelihoods(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1)


@contextmanager
def _view(model: nn.Module | ModelView) -> Iterator[ModelView]:
    """The view itself, or one for the moment."""
    if isinstance(model, ModelView):
        yield model
        return
    view = ModelView(model)
    try:
        yield view
    finally:
        view.remove()


def _autocast(batch: Batch, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return nullcontext() if dtype is None else torch.autocast(batch.real.device.type, dtype=dtype)
