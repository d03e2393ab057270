"""A study small enough for tests: a model that knows what is good, and rows in which one word decides."""

import random

import yaml
from puppets import LETTERS, WEIGHTS, handset

NOUNS, FINE, POOR = ("film", "book", "plot"), ("good", "fine", "great"), ("bad", "awful", "poor")


def write_rows(path, count, seed, names=("neg", "pos"), wrong=0.0):
    """Rows of two classes, some of them with the other's label."""
    draws = random.Random(seed)
    lines = ["text,label"]
    for number in range(count):
        word, kind = draws.choice((POOR, FINE)[number % 2]), number % 2
        label = names[1 - kind if draws.random() < wrong else kind]
        place = f"{LETTERS[number % 26]} {LETTERS[number // 26]}"  # no text twice
        lines.append(f"the {draws.choice(NOUNS)} {place} was {word} and a {draws.choice(NOUNS)} is {word},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_place(folder):
    """A base model and data: train, dev, test, and another domain whose classes have other names."""
    model, tokenizer = handset(WEIGHTS | {"[UNK]": -0.05})
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    write_rows(folder / "train.csv", 60, 0)
    write_rows(folder / "dev.csv", 20, 1)
    write_rows(folder / "test.csv", 40, 2)
    write_rows(folder / "other.csv", 30, 3, names=("0", "1"))
    return folder


SMALL = {
    "name": "small",
    "models": {"tiny": "base"},
    "data": {"toy": {"train": "train.csv", "dev": "dev.csv", "test": "test.csv"}},
    "train": {"learning_rate": 1e-3, "batch_size": 10, "max_length": 32, "precision": "fp32"},
    "arms": {"standard": {"family": "baseline"}},
}


def write_study(folder, **more):
    """A study file: SMALL with other values."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(SMALL | more, sort_keys=False), encoding="utf-8")
    return path
