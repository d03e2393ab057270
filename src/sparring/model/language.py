"""Language models: new ones in known shapes, and checkpoints for continual training. safetensors only, no remote code.

Two objectives: "mlm", masked language modelling, is for encoders; "clm", causal, next-token modelling, for decoders.
"""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn

from ..data.batch import make_key
from ..errors import ModelError, SettingError
from ..settings import nearest
from .load import LOCAL, first_line, source_of
from .packed import position_offset

Objective = Literal["mlm", "clm"]
SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "base": (12, 768), "large": (24, 1024)}
"""Layers and width. Heads are 64 wide and the feed-forward layers four times the width, as in BERT's miniatures (Turc
et al., 2019, arXiv:1908.08962)."""
FAMILIES = {"mlm": ("bert", "roberta"), "clm": ("gpt2",)}
"""Families whose shapes `new_language_model` knows, by objective; any other comes from a config file."""
_HEAD_WIDTH = 64
_MADE_FOR = {"mlm": "an encoder such as BERT, RoBERTa or ModernBERT", "clm": "a decoder such as GPT-2, Llama or Qwen"}


def new_language_model(
    objective: Objective,
    family: str | None,
    size: str,
    tokenizer: Any,
    *,
    length: int,
    seed: int = 0,
    config: str | Path | None = None,
) -> nn.Module:
    """A language model in float32 with random weights that follow from `seed`, for the tokenizer's vocabulary.

    family: "bert" or "roberta" (mlm), "gpt2" (clm), or None for the first of the objective. size: one of SIZES.
    length: tokens of the longest text it will ever read, the rows of its position table.
    config: a config.json, or a folder with one, in place of family and size; its vocabulary size and special tokens
        become the tokenizer's.
    Raises SettingError for a family or size that does not exist, ModelError for a config that cannot be used.
    """
    made: Any = None if config else shape_of(objective, family, size, length)
    _check_objective(objective, tokenizer)
    if config:
        made = _read_config(config, objective, tokenizer, length)
    for name, value in _of_tokenizer(tokenizer).items():
        setattr(made, name, value)
    made.use_cache = False
    if made.model_type == "roberta" and not config:
        if made.pad_token_id is None:
            raise ModelError("RoBERTa needs a tokenizer with a padding token, behind which its positions begin")
        made.max_position_embeddings = length + made.pad_token_id + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(make_key(seed, "weights"))
        try:
            model: nn.Module = _auto(objective).from_config(made, dtype=torch.float32)
        except (ValueError, TypeError, RuntimeError, AssertionError, IndexError) as error:
            raise ModelError(f"cannot build a model from {config or family!s}: {first_line(error)}") from error
    if config:
        _check_length(model, length, str(config))
    return model


def load_language_model(
    name: str, objective: Objective, tokenizer: Any, *, seed: int = 0
) -> tuple[nn.Module, list[str]]:
    """A checkpoint in float32 for continual training, and what the user should be told about it, a sentence each.

    name: "minilm", a local folder or a hub name. An encoder that comes without a language-model head gets a new one,
    whose decoder is tied to the word embeddings; its other weights follow from `seed`.
    Raises ModelError when it cannot be found, is made for the other objective, or has no safetensors weights that fit.
    """
    _check_objective(objective, tokenizer)
    source = source_of(name)
    config = _find_config(source, name)
    _check_architecture(config, objective, name)
    config.use_cache = False
    model, missing = _load(source, name, objective, config, seed)
    notes: list[str] = []
    body = model.base_model_prefix + "."
    head = sorted(key for key in missing if not key.startswith(body))
    lost = sorted(key for key in missing if key.startswith(body) and "pooler" not in key)
    if lost:
        raise ModelError(
            f"the weights of {name!r} are not those of a {config.model_type} model: {len(lost)} are missing, such as "
            f"{lost[0]}. Name a whole checkpoint, or train from scratch with its config"
        )
    shapes = {key: weight.dim() for key, weight in model.state_dict().items()}
    if any(shapes.get(key, 0) > 1 for key in head):
        if not config.get_text_config().tie_word_embeddings:
            config.tie_word_embeddings = True
            model, _ = _load(source, name, objective, config, seed)
        notes.append(
            f"{name} comes without a language-model head: a new one was put on, with its output layer tied to the word "
            "embeddings and the rest of it untrained"
        )
    elif head:
        notes.append(f"{name} lacks {', '.join(head)} of its language-model head; they start from zero")
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} entries, the embedding table of {name!r} only {rows}; use the "
            "tokenizer that belongs to the checkpoint"
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, notes


def shape_of(objective: Objective, family: str | None, size: str, length: int) -> Any:
    """The config of a family and size, before it knows a tokenizer; SettingError for one that there is not."""
    from transformers import BertConfig, GPT2Config, RobertaConfig

    _check_known(objective)
    known = FAMILIES[objective]
    if family is not None and family not in known:
        other = next((o for o, names in FAMILIES.items() if family in names), None)
        wrong = f"{family} is made for objective {other}" if other else f"family {family!r} is unknown"
        raise SettingError(
            f"{wrong}; objective {objective} has shapes of {' and '.join(known)}. For another architecture give a "
            "config file"
        )
    if size not in SIZES:
        raise SettingError(f"size {size!r} is unknown; {nearest(size, SIZES)}")
    layers, width = SIZES[size]
    heads = width // _HEAD_WIDTH
    if objective == "clm":
        return GPT2Config(n_layer=layers, n_embd=width, n_head=heads, n_positions=length)
    kind, types = (RobertaConfig, 1) if family == "roberta" else (BertConfig, 2)
    return kind(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=length,
        type_vocab_size=types,
        layer_norm_eps=1e-5 if family == "roberta" else 1e-12,
    )


def _of_tokenizer(tokenizer: Any) -> dict[str, int | None]:
    """What a config repeats of its tokenizer. BERT's has no beginning and end, but [CLS] and [SEP] in their places."""

    def first(*ids: int | None) -> int | None:
        return next((i for i in ids if i is not None), None)

    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": first(tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id),
        "eos_token_id": first(tokenizer.eos_token_id, tokenizer.sep_token_id),
    }


def _read_config(config: str | Path, objective: Objective, tokenizer: Any, length: int) -> Any:
    path = Path(config)
    file = path / "config.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot read the model config {file}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON: {first_line(error)}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise ModelError(f'{file} has no "model_type", such as "bert" or "gpt2"; it must be a config of transformers')
    from transformers import AutoConfig

    kind = content.pop("model_type")
    for remote in ("auto_map", "custom_pipelines"):
        content.pop(remote, None)
    try:
        made = AutoConfig.for_model(kind, **content)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{file} is no config that transformers can use: {first_line(error)}") from error
    _check_architecture(made, objective, str(file))
    return made


def _find_config(source: str, name: str) -> Any:
    from transformers import AutoConfig

    folder = Path(source)
    if folder.is_dir() and not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        why = (
            "it holds an adapter; merge it into its model first" if adapter else "no config.json; is training finished?"
        )
        raise ModelError(f"{folder} holds no language model: {why}")
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot find a model at {name!r}: {first_line(error)}. {LOCAL}") from error


def _check_architecture(config: Any, objective: Objective, name: str) -> None:
    """ModelError for an architecture that is made for something else."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    masked = type(config) in AutoModelForMaskedLM._model_mapping
    causal = type(config) in AutoModelForCausalLM._model_mapping
    kind: str | None
    if config.is_encoder_decoder:
        kind = "an encoder-decoder, which is pre-trained on other objectives"
    elif masked and not getattr(config, "is_decoder", False):  # BERT and its kin are in both lists
        kind = "an encoder" if objective == "clm" else None
    elif causal:
        kind = "a decoder" if objective == "mlm" else None
    else:
        kind = "no language model that transformers knows"
    if kind is None:
        return
    other = {"an encoder": "; or choose objective mlm", "a decoder": "; or choose objective clm"}.get(kind, "")
    raise ModelError(
        f"{name!r} is a {config.model_type} model, {kind}; objective {objective} needs {_MADE_FOR[objective]}{other}"
    )


def _check_known(objective: str) -> None:
    if objective not in FAMILIES:
        raise SettingError(f"objective {objective!r} is unknown; {nearest(objective, FAMILIES)}")


def _check_objective(objective: str, tokenizer: Any) -> None:
    _check_known(objective)
    if objective == "mlm" and tokenizer.mask_token_id is None:
        raise ModelError(
            "objective mlm needs a tokenizer with a mask token, and this one has none; use that of a masked language "
            "model, or objective clm"
        )


def _check_length(model: nn.Module, length: int, name: str) -> None:
    rows = getattr(model.config, "max_position_embeddings", None)
    if rows is not None and length > rows - position_offset(model):
        raise ModelError(
            f"{name} has positions for {rows - position_offset(model)} tokens, and length is {length}; make the length "
            "shorter, or max_position_embeddings larger"
        )


def _auto(objective: Objective) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    return AutoModelForMaskedLM if objective == "mlm" else AutoModelForCausalLM


def _load(source: str, name: str, objective: Objective, config: Any, seed: int) -> tuple[Any, list[str]]:
    """The model, and the names of the weights that its files do not hold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(make_key(seed, "head"))
        try:
            model, info = _auto(objective).from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"cannot load the weights of {name!r}: {first_line(error)}. Only safetensors files are read; convert "
                f"others with `model.save_pretrained(folder)`. {LOCAL}"
            ) from error
    return model, list(info["missing_keys"])
