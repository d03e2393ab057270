"""The bridge to TextAttack; with TextAttack itself where it can be imported."""

import sys

import numpy as np
import pytest
from fakes import BagOfWords

from sparring.attack.bridge import model_wrapper
from sparring.errors import ModelError

VICTIM = BagOfWords({"gripping": 3.0, "dull": -3.0, "film": 0.5})


@pytest.fixture(scope="module")
def textattack():
    try:  # an import that fails in other ways than by absence is a skip too: it needs NLTK data
        import textattack
    except (ImportError, LookupError) as error:
        pytest.skip(f"TextAttack cannot be imported: {error}")
    return textattack


def test_without_textattack_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "textattack.models.wrappers", None)
    monkeypatch.setitem(sys.modules, "textattack", None)
    with pytest.raises(ModelError, match=r"pip install textattack==.* transformers==4"):
        model_wrapper(VICTIM)


def test_textattack_sees_the_probabilities_of_the_victim(textattack):
    wrapper = model_wrapper(VICTIM)
    goal = textattack.goal_functions.UntargetedClassification(wrapper, use_cache=False)
    texts = [textattack.shared.AttackedText(text) for text in ("a gripping film", "dull", "a gripping film")]
    seen = goal._call_model(texts).numpy()
    expected = np.exp([VICTIM.scores((text.text,)) for text in texts])
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    assert [int(row.argmax()) for row in seen] == [1, 0, 1]


def test_a_textattack_search_breaks_the_victim(textattack):
    from textattack.search_methods import GreedyWordSwapWIR
    from textattack.transformations import WordSwap

    class Duller(WordSwap):
        def _get_replacement_words(self, word):
            return {"gripping": ["arresting", "dull"], "film": ["movie"]}.get(word, [])

    goal = textattack.goal_functions.UntargetedClassification(model_wrapper(VICTIM))
    once = textattack.constraints.pre_transformation.RepeatModification()
    attack = textattack.Attack(goal, [once], Duller(), GreedyWordSwapWIR(wir_method="delete"))
    result = attack.attack("a gripping film", 1)
    assert result.perturbed_text() == "a dull film"
    assert result.num_queries == 1 + 3 + 2  # the original, each word left out, the two candidates


def test_gradients_reach_textattack_in_eval_mode_and_match_its_tokens(textattack, tiny):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "a", "gripping", "film"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    model = tiny("bert", labels=2).train()
    wrapper = model_wrapper((model, tokenizer))
    first, second = wrapper.get_grad("a gripping film"), wrapper.get_grad("a gripping film")
    np.testing.assert_array_equal(first["gradient"], second["gradient"])  # no dropout
    assert wrapper.tokenize(["a gripping film"]) == [["a", "gripping", "film"]]
    assert first["gradient"].shape == (3, model.config.hidden_size) and np.abs(first["gradient"]).max() > 0
    assert model.training and all(p.grad is None for p in model.parameters())


def test_a_victim_without_gradients_says_so(textattack):
    with pytest.raises(ModelError, match="scores only"):
        model_wrapper(VICTIM).get_grad("a film")
