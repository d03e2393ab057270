"""TextAttack on given rows of a file, timed: the other side of `attack_throughput.py`, in an environment of its own.

    python textattack_side.py --victim FOLDER --data test.csv --rows rows.txt --recipe pwws --padding dynamic \\
        --neighbours counterfitted_neighbors.json --stopwords stopwords.txt --threads 2 --output textattack.jsonl

Versions that work together and without a network (NLTK_DATA names a folder with WordNet, the English tagger, the
universal tag set and stop words): torch 2.13.0, textattack 0.3.11, flair 0.15.1, transformers 4.57.6, datasets 5.0.1,
huggingface-hub 0.36.2.

padding: `shipped` is TextAttack's own model wrapper, which fills every text up to the tokenizer's maximum length;
`dynamic` is the same wrapper that fills up to the longest text of the batch.
Recipes: `deepwordbug` and `pwws` as TextAttack builds them, with the stop words of the file in place of NLTK's, so that
both sides have the same; `textfooler` is its search, stop words and part-of-speech constraint over a table of
neighbours, without the word-vector and sentence-encoder constraints.
The `Attack` object is called directly, without TextAttack's result loggers. Importing, loading and the first
`--warm` examples (rows that are not measured) are not timed.
Writes one JSON line an example and one with the times.
"""

import argparse
import csv
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any


def prepare(threads: int) -> None:
    """Let TextAttack be imported without a network. It fetches NLTK data on its first import, which is switched off."""
    os.environ.update(OMP_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    cache = Path(tempfile.mkdtemp(prefix="textattack-"))
    (cache / "post_install_check_3").touch()
    os.environ["TA_CACHE_DIR"] = str(cache)
    import nltk
    import torch

    nltk.download = lambda *_, **__: True
    torch.set_num_threads(threads)


def build_wrapper(folder: Path, padding: str) -> Any:
    """The model in TextAttack's wrapper, with `seconds`, `calls`, `texts` and `largest` batch counted."""
    import torch
    from textattack.models.wrappers import HuggingFaceModelWrapper
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    class Timed(HuggingFaceModelWrapper):
        """As shipped, with a clock."""

        def reset(self) -> None:
            self.seconds, self.calls, self.texts, self.largest = 0.0, 0, 0, 0

        def __call__(self, text_input_list: list[str]) -> Any:
            began = time.perf_counter()
            answer = self.answer(text_input_list)
            self.seconds += time.perf_counter() - began
            self.calls += 1
            self.texts += len(text_input_list)
            self.largest = max(self.largest, len(text_input_list))
            return answer

        def answer(self, texts: list[str]) -> Any:
            return super().__call__(texts)

    class Dynamic(Timed):
        """Texts are filled up to the longest of their batch."""

        def answer(self, texts: list[str]) -> Any:
            inputs = self.tokenizer(texts, padding=True, truncation=True, max_length=512, return_tensors="pt")
            with torch.no_grad():
                return self.model(**inputs).logits

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.backend_tokenizer.no_padding()  # some files fill up to a length of their own
    tokenizer.backend_tokenizer.no_truncation()
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    wrapper = (Timed if padding == "shipped" else Dynamic)(model, tokenizer)
    wrapper.reset()
    return wrapper


def build_attack(recipe: str, wrapper: Any, stopwords: set[str], neighbours: dict[str, list[str]]) -> Any:
    """A TextAttack `Attack`."""
    from textattack import Attack
    from textattack.attack_recipes import DeepWordBugGao2018, PWWSRen2019
    from textattack.constraints.grammaticality import PartOfSpeech
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.goal_functions import UntargetedClassification
    from textattack.search_methods import GreedyWordSwapWIR
    from textattack.transformations import WordSwap
    from textattack.transformations.word_swaps.word_swap_embedding import recover_word_case

    class Neighbours(WordSwap):
        """All neighbours that a table names, in the case of the word."""

        def _get_replacement_words(self, word: str) -> list[str]:
            return [recover_word_case(neighbour, word) for neighbour in neighbours.get(word.lower(), [])]

    if recipe == "textfooler":
        constraints = [
            RepeatModification(),
            StopwordModification(stopwords=stopwords),
            PartOfSpeech(allow_verb_noun_swap=True),
        ]
        goal = UntargetedClassification(wrapper)
        return Attack(goal, constraints, Neighbours(), GreedyWordSwapWIR(wir_method="delete"))
    attack = {"deepwordbug": DeepWordBugGao2018, "pwws": PWWSRen2019}[recipe].build(wrapper)
    for constraint in attack.pre_transformation_constraints:
        if isinstance(constraint, StopwordModification):
            constraint.stopwords = stopwords
    return attack


def main() -> None:
    """Attack and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", type=Path, required=True, help="folder of a Hugging Face classifier")
    parser.add_argument("--data", type=Path, required=True, help="csv with text and label")
    parser.add_argument("--rows", type=Path, required=True, help="row numbers to attack, the first is 0, one a line")
    parser.add_argument("--recipe", choices=["deepwordbug", "pwws", "textfooler"], required=True)
    parser.add_argument("--padding", choices=["shipped", "dynamic"], required=True)
    parser.add_argument("--neighbours", type=Path, required=True, help="json: word to list of words")
    parser.add_argument("--stopwords", type=Path, required=True, help="one a line")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm", type=int, default=3, help="other rows to attack before the clock starts")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    prepare(options.threads)

    import numpy as np
    import textattack
    import torch
    import transformers

    with options.data.open(encoding="utf-8", newline="") as file:
        data = list(csv.DictReader(file))
    rows = [int(line) for line in options.rows.read_text().split()]
    stopwords = set(options.stopwords.read_text(encoding="utf-8").split())
    wrapper = build_wrapper(options.victim, options.padding)
    number = wrapper.model.config.label2id
    neighbours = json.loads(options.neighbours.read_text(encoding="utf-8"))
    attack = build_attack(options.recipe, wrapper, stopwords, neighbours)

    unmeasured = [row for row in range(len(data)) if row not in set(rows)]
    random.seed(options.seed)
    np.random.seed(options.seed)
    for row in unmeasured[: options.warm]:
        attack.attack(data[row]["text"], number[data[row]["label"]])
    random.seed(options.seed)
    np.random.seed(options.seed)
    wrapper.reset()
    results = []
    began = time.perf_counter()
    for row in rows:
        results.append(attack.attack(data[row]["text"], number[data[row]["label"]]))
    seconds = time.perf_counter() - began

    with options.output.open("w", encoding="utf-8") as file:
        for row, result in zip(rows, results, strict=True):
            line = {
                "row": row,
                "status": type(result).__name__.removesuffix("AttackResult").lower(),
                "original": result.original_text(),
                "adversarial": result.perturbed_text(),
                "queries": result.num_queries,
            }
            file.write(json.dumps(line) + "\n")
        summary = {
            "seconds": seconds,
            "victim_seconds": wrapper.seconds,
            "victim_calls": wrapper.calls,
            "victim_texts": wrapper.texts,
            "largest_batch": wrapper.largest,
            "threads": torch.get_num_threads(),
            "versions": {
                "textattack": textattack.__version__ if hasattr(textattack, "__version__") else "0.3.11",
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        }
        file.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()
