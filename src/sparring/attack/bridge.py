"""A victim as a model of TextAttack, so that its recipes can be run unchanged and compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from .victim import ModelVictim, TokenGradient, as_victim

INSTALL = (
    "TextAttack 0.3.11 works with transformers 4 only, so give it an environment of its own: "
    "pip install textattack==0.3.11 flair==0.15.1 transformers==4.57.6 datasets==5.0.1 huggingface-hub==0.36.2, "
    "and then pip install --no-deps sparring"
)


def model_wrapper(victim: Any) -> Any:
    """A `textattack.models.wrappers.ModelWrapper` that answers with a victim's `quick` service.

    victim: see `as_victim`. Give it to the `build` of a TextAttack recipe. Scores are log-probabilities, (N, C)
    float64: TextAttack takes the softmax of what it is given, unless each row sums to 1 within 1e-6, so that
    probabilities in single precision would sometimes be squashed twice and sometimes not.
    Attacks that follow gradients need a victim that has them; they get that of the predicted class, as TextAttack
    defines it, but in eval mode, and no weight's gradient is touched.
    Raises ModelError, with what to install, where TextAttack cannot be imported.
    """
    target = as_victim(victim)
    try:
        from textattack.models.wrappers import ModelWrapper  # type: ignore[import-not-found, unused-ignore]
    except (ImportError, LookupError) as error:  # LookupError: no NLTK data, which it needs on import
        raise ModelError(f"TextAttack cannot be imported ({str(error).strip()[:200]}). {INSTALL}") from error

    class Bridge(ModelWrapper):  # type: ignore[misc, unused-ignore]
        """A property, not an attribute, holds the model: TextAttack moves the models that it finds in attributes."""

        @property
        def model(self) -> Any:
            """What TextAttack checks the type of."""
            return getattr(target, "model", target)

        def __call__(self, text_input_list: Sequence[str | tuple[str, ...]], **_: Any) -> Tensor:
            """(N, C) log-probabilities of N texts; a pair of texts is a tuple."""
            items = [_fields(text) for text in text_input_list]
            once = list(dict.fromkeys(items))
            known = dict(zip(once, target.quick.answer(once), strict=True))
            return torch.from_numpy(np.stack([known[item] for item in items]))

        def get_grad(self, text_input: str | tuple[str, ...]) -> dict[str, Any]:
            """Token ids (L,) and the gradient (L, D) of the predicted class's loss by the word embeddings."""
            found = self._gradient(text_input)
            return {"ids": found.ids, "gradient": found.gradient}

        def _tokenize(self, inputs: Sequence[str | tuple[str, ...]]) -> list[list[str]]:
            """The tokens of `get_grad`'s rows, special ones included."""
            if not isinstance(target, ModelVictim):
                raise ModelError(f"a {type(target).__name__} has no tokens; attack a model with its tokenizer")
            encoded = target.encode([_fields(text) for text in inputs])
            return [target.tokenizer.convert_ids_to_tokens(ids) for ids in encoded["input_ids"]]

        def _gradient(self, text: str | tuple[str, ...]) -> TokenGradient:
            if target.gradient is None:
                raise ModelError("this attack follows gradients, and the victim gives scores only")
            item = _fields(text)
            (scores,) = target.quick.answer([item])
            found: TokenGradient = target.gradient.answer([(item, int(scores.argmax()))])[0]
            return found

    return Bridge()


def _fields(text: str | Sequence[str]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)
