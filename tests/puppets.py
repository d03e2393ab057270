"""Tiny victims with tokenizers: random ones of three families, and a BERT whose every word has a known weight."""

import os
import sys
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace

import families
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [
    "the",
    "a",
    "film",
    "book",
    "plot",
    "was",
    "is",
    "and",
    "good",
    "bad",
    "fine",
    "awful",
    "great",
    "poor",
    "dull",
    "not",
    "very",
]
WEIGHTS = {"good": 1.0, "great": 2.0, "fine": 0.7, "bad": -1.0, "awful": -2.0, "poor": -0.7, "[UNK]": -0.4}
"""Of the hand-set BERT: above 0 speaks for class 1."""


def wordpiece(words=WORDS, letters=LETTERS, pairs=True):
    """Lower-cased words, and single letters for what is none; no letters: what is no word is [UNK]."""
    vocabulary = [*SPECIAL.values(), *words, *(c for c in letters if c not in words), *(f"##{c}" for c in letters)]
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    from tokenizers import normalizers

    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary.index("[CLS]")), ("[SEP]", vocabulary.index("[SEP]"))],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=names, model_max_length=10**9, **SPECIAL)


def bytelevel(marked=True):
    """Letters and a few words, in RoBERTa's format, or (not marked) in GPT-2's without begin and end."""
    merges = [("Ġ", "g"), ("o", "d"), ("Ġg", "o"), ("Ġgo", "od"), ("Ġ", "b"), ("Ġb", "a"), ("Ġba", "d"), ("Ġ", "f")]
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    vocabulary = [*special, *LETTERS, "Ġ", ".", "!", ",", "'", *("".join(pair) for pair in merges)]
    made = Tokenizer(models.BPE({w: i for i, w in enumerate(vocabulary)}, merges, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    given = {"pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": 10**9}
    if marked:
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), add_prefix_space=False)
        given |= {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "cls_token": "<s>",
            "sep_token": "</s>",
            "mask_token": "<mask>",
        }
    return PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=["input_ids", "attention_mask"], **given)


@cache
def tokenizer(family):
    return {"bert": wordpiece, "roberta": bytelevel, "gpt2": lambda: bytelevel(marked=False)}[family]()


@cache
def _random(family, labels, task):
    kind, given = families._CONFIGS[family]
    made = tokenizer(family)
    settings = given | {"vocab_size": len(made), "num_labels": labels, "pad_token_id": made.pad_token_id}
    config = kind(**settings, bos_token_id=1, eos_token_id=2)
    model = task.from_config(config)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=source))
    return model.eval()


def random_model(family="bert", labels=2, task=AutoModelForSequenceClassification):
    """(model, tokenizer): always the same one, shared: do not change its weights."""
    return _random(family, labels, task), tokenizer(family)


def handset(weights: Mapping[str, float] = WEIGHTS, *, words=WORDS, bias=0.0, sharpness=4.0, names=("neg", "pos")):
    """(model, tokenizer): a BERT of one layer that says class 1 if the weights of the words sum to more than -bias.

    Every token attends evenly to all tokens; the first entry of a vector carries the weight. What is no word weighs as
    much as "[UNK]". Layer normalisations bend the sum, but not its sign if all weights are of one size.
    """
    made = wordpiece(words, letters="")
    config = BertConfig(
        vocab_size=len(made),
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=2,
        max_position_embeddings=48,
        hidden_dropout_prob=0.1,
        num_labels=2,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    model = BertForSequenceClassification(config).eval()
    eye = torch.eye(4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "LayerNorm.weight" not in name:
                weight.zero_()
        table = model.bert.embeddings.word_embeddings.weight
        table[:] = torch.tensor([0.0, 0.0, 1.0, -1.0])
        for word, value in weights.items():
            table[made.convert_tokens_to_ids(word), :2] = torch.tensor([value, -value])
        layer = model.bert.encoder.layer[0].attention
        layer.self.value.weight.copy_(eye)
        layer.output.dense.weight.copy_(4 * eye)
        model.bert.pooler.dense.weight[0, 0] = 1.0
        model.bert.pooler.dense.bias[0] = bias
        model.classifier.weight[:, 0] = torch.tensor([-sharpness, sharpness])
    return model, made


class Linear(nn.Module):
    """logits = sum over the real tokens of their embeddings @ weight: gradients can be worked out by hand."""

    def __init__(self, vocabulary, width=3, classes=2, seed=2):
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        self.table, self.layers = nn.Embedding(vocabulary, width), nn.ModuleList([nn.Identity()])
        self.head = nn.Linear(width, classes, bias=False)
        with torch.no_grad():
            self.table.weight.copy_(torch.randn(vocabulary, width, generator=source))
            self.head.weight.copy_(torch.randn(classes, width, generator=source))
        self.config = SimpleNamespace(num_labels=classes, max_position_embeddings=64, is_encoder_decoder=False)
        self.calls = []

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        self.calls.append(tuple(input_ids.shape))
        summed = (self.table(input_ids) * attention_mask.unsqueeze(-1)).sum(1)
        return SimpleNamespace(logits=self.head(summed))


def forked(function, environment=None):
    """Run a function in a process of its own, which has loaded everything already; its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update(environment or {})
        function()
        code = 0
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def exit_code(child):
    """Wait for a process; 137 after kill -9."""
    _, status = os.waitpid(child, 0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
