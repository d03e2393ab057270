"""A small corpus with its tokenizer and a tiny model config, and settings of runs on them, also for other processes."""

import gc
import json
from pathlib import Path

from sparring.data.corpus import Corpus
from sparring.data.demo import reviews
from sparring.data.vocabulary import train_tokenizer
from sparring.train.pretrain_options import Pretrain

gc.freeze()  # accelerate collects garbage whenever a run begins: spare it what the imports made

SHAPE = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
}
POSITIONS = {"bert": "max_position_embeddings", "gpt2": "n_positions"}
KIND = {"bert": "wordpiece", "gpt2": "bpe"}


def write_texts(folder: Path) -> Path:
    """text.txt, and for each family a tokenizer and the config of a tiny model without dropout or with it."""
    texts = [review.text for review in reviews("train")[:400]]
    (folder / "text.txt").write_text("\n\n".join(texts) + "\n")
    corpus = Corpus.open(folder / "text.txt")
    for family, shape in SHAPE.items():
        tokenizer = train_tokenizer(corpus, kind=KIND[family], family=family, size=400, length=16)
        tokenizer.save_pretrained(folder / f"{family}-tokenizer")
        for name, rate in (("config", 0.0), ("dropout", 0.1)):
            drop = ("hidden_dropout_prob", "attention_probs_dropout_prob", "resid_pdrop", "embd_pdrop", "attn_pdrop")
            config = {"model_type": family, POSITIONS[family]: 32, **shape, **dict.fromkeys(drop, rate)}
            (folder / f"{family}-{name}.json").write_text(json.dumps(config))
    return folder


def settings(folder: Path, output: Path | str, *, family: str = "bert", config: str = "config", **given) -> Pretrain:
    """A run of six steps of eight blocks of 16 tokens, in float32."""
    defaults = {
        "corpus": str(folder / "text.txt"),
        "objective": "clm" if family == "gpt2" else "mlm",
        "tokenizer": str(folder / f"{family}-tokenizer"),
        "length": 16,
        "batch_size": 8,
        "steps": 6,
        "learning_rate": 0.01,
        "precision": "fp32",
        "warmup": 0.0,
        "shuffle": 50,
        "save_every": 2,
        "keep": 9,
        "eval_every": 3,
        "eval_blocks": 4,
        "pseudo_texts": 0,
        "workers": 0,
        "output": str(output),
    }
    if "model" not in given:
        defaults["model_config"] = str(folder / f"{family}-{config}.json")
    else:
        del defaults["tokenizer"]
    return Pretrain(**(defaults | given))
