"""Language models to begin with: new ones of known shape, checkpoints with and without a head, and what is refused."""

import json

import pytest
import torch
from families import tiny as built
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from sparring.errors import ModelError, SettingError
from sparring.model.language import SIZES, load_language_model, new_language_model
from sparring.model.load import longest_text


class Tokenizer:
    """The ids of a tokenizer with 48 entries."""

    pad_token_id, cls_token_id, sep_token_id, mask_token_id = 1, 2, 3, 4
    bos_token_id = eos_token_id = None
    model_max_length = 10**9

    def __len__(self):
        return 48


class Causal(Tokenizer):
    cls_token_id = sep_token_id = mask_token_id = None
    bos_token_id = eos_token_id = 0


def saved(folder, name, **kwargs):
    built(name, dtype=torch.float32, **kwargs).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_sizes_are_those_of_berts_miniatures(monkeypatch, family, size):
    layers, width = SIZES[size]
    with torch.device("meta"):
        made = new_language_model(
            "clm" if family == "gpt2" else "mlm", family, size, Causal() if family == "gpt2" else Tokenizer(), length=64
        )
    config = made.config
    assert (config.num_hidden_layers, config.hidden_size) == (layers, width)
    assert config.hidden_size // config.num_attention_heads == 64
    assert longest_text(made, Tokenizer(), 512) == 64
    matrix = 12 * width * width  # of one layer: 4 width^2 attention, 8 width^2 feed-forward
    inside = sum(p.numel() for n, p in made.named_parameters() if (".layer." in n or ".h." in n) and p.dim() == 2)
    assert inside == layers * matrix


@pytest.mark.parametrize(("objective", "family"), [("mlm", "bert"), ("mlm", "roberta"), ("clm", "gpt2")])
def test_a_new_model_follows_from_its_seed_reads_its_whole_length_and_loads_as_hugging_faces(
    tmp_path, objective, family
):
    tokenizer = Causal() if objective == "clm" else Tokenizer()
    before = torch.get_rng_state()
    one, same, other = (
        new_language_model(objective, family, "tiny", tokenizer, length=24, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    ids = torch.randint(5, 48, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = one.eval()(input_ids=ids).logits
        assert logits.shape == (2, 24, 48)
        assert torch.equal(logits, same.eval()(input_ids=ids).logits)
        assert not torch.equal(logits, other.eval()(input_ids=ids).logits)
        assert one.get_output_embeddings().weight is one.get_input_embeddings().weight
        one.save_pretrained(tmp_path)
        auto = AutoModelForCausalLM if objective == "clm" else AutoModelForMaskedLM
        assert torch.equal(auto.from_pretrained(tmp_path)(input_ids=ids).logits, logits)
    again, notes = load_language_model(str(tmp_path), objective, tokenizer)
    assert not notes
    with torch.no_grad():
        assert torch.equal(again.eval()(input_ids=ids).logits, logits)


def test_any_config_file_can_be_trained_with_the_tokenizers_vocabulary(tmp_path):
    content = {"model_type": "electra", "vocab_size": 9, "hidden_size": 16, "embedding_size": 8, "num_hidden_layers": 1}
    content |= {"num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 20}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(content | {"auto_map": {"AutoConfig": "evil.Config"}}))
    for source in (file, tmp_path):
        model = new_language_model("mlm", None, "mini", Tokenizer(), length=20, config=source)
        assert type(model).__name__ == "ElectraForMaskedLM" and model.get_input_embeddings().num_embeddings == 48
        assert model.config.pad_token_id == 1 and not hasattr(model.config, "auto_map")
    with pytest.raises(ModelError, match="positions for 20 tokens, and length is 21"):
        new_language_model("mlm", None, "mini", Tokenizer(), length=21, config=file)
    with pytest.raises(ModelError, match="electra model, an encoder; objective clm needs a decoder"):
        new_language_model("clm", None, "mini", Causal(), length=8, config=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the model config"),
        ("{", "not valid JSON"),
        ("[]", 'no "model_type"'),
        ('{"model_type": "nothing"}', "no config that transformers can use"),
        ('{"model_type": "vit"}', "no language model"),
        ('{"model_type": "bert", "hidden_size": 10, "num_attention_heads": 3}', "cannot build a model"),
    ],
)
def test_a_config_that_cannot_be_used_is_an_error_that_names_it(tmp_path, content, message):
    file = tmp_path / "mine.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ModelError, match=message) as caught:
        new_language_model("mlm", None, "mini", Tokenizer(), length=8, config=file)
    assert "mine.json" in str(caught.value)


def test_an_encoder_without_a_head_gets_one_tied_to_its_embeddings_and_the_user_is_told(tmp_path):
    model = built("bert-mlm", dtype=torch.float32)
    model.bert.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    loaded, notes = load_language_model(str(tmp_path), "mlm", Tokenizer())
    assert len(notes) == 1 and "without a language-model head" in notes[0] and "tied" in notes[0]
    assert loaded.cls.predictions.decoder.weight is loaded.bert.embeddings.word_embeddings.weight
    for name, weight in model.bert.named_parameters():
        assert torch.equal(loaded.bert.get_parameter(name), weight), name
    again, _ = load_language_model(str(tmp_path), "mlm", Tokenizer())
    other, _ = load_language_model(str(tmp_path), "mlm", Tokenizer(), seed=1)
    dense = [m.cls.predictions.transform.dense.weight for m in (loaded, again, other)]
    assert torch.equal(dense[0], dense[1]) and not torch.equal(dense[0], dense[2])


def test_a_fine_tuned_classifier_can_be_trained_on_as_a_language_model(tmp_path):
    loaded, notes = load_language_model(saved(tmp_path, "roberta"), "mlm", Tokenizer())
    assert type(loaded).__name__ == "RobertaForMaskedLM" and len(notes) == 1


def test_an_untied_head_of_the_checkpoint_stays_untied(tmp_path):
    config = built("bert-mlm").config
    config.tie_word_embeddings = False
    model = AutoModelForMaskedLM.from_config(config)
    model.save_pretrained(tmp_path)
    loaded, notes = load_language_model(str(tmp_path), "mlm", Tokenizer())
    assert not notes
    assert torch.equal(loaded.cls.predictions.decoder.weight, model.cls.predictions.decoder.weight)
    assert loaded.cls.predictions.decoder.weight is not loaded.bert.embeddings.word_embeddings.weight


@pytest.mark.parametrize(
    ("name", "objective", "message"),
    [
        ("bert-mlm", "clm", "bert model, an encoder; objective clm needs a decoder.*choose objective mlm"),
        ("gpt2-lm", "mlm", "gpt2 model, a decoder; objective mlm needs an encoder.*choose objective clm"),
        ("t5", "mlm", "t5 model, an encoder-decoder"),
        ("bart", "mlm", "bart model, an encoder-decoder"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_with_the_way_out(tmp_path, name, objective, message):
    with pytest.raises(ModelError, match=message):
        load_language_model(saved(tmp_path, name), objective, Causal() if objective == "clm" else Tokenizer())


def test_weights_of_something_else_are_refused(tmp_path):
    saved(tmp_path, "bert-mlm")
    built("gpt2-lm", dtype=torch.float32).save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="not those of a bert model"):
        load_language_model(str(tmp_path), "mlm", Tokenizer())


def test_broken_missing_and_foreign_folders_say_what_to_do(tmp_path):
    with pytest.raises(ModelError, match=r"there is no folder .*nowhere\. Name a folder"):
        load_language_model(str(tmp_path / "nowhere"), "mlm", Tokenizer())
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_language_model(str(tmp_path), "mlm", Tokenizer())
    saved(tmp_path, "bert-mlm")
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot load the weights"):
        load_language_model(str(tmp_path), "mlm", Tokenizer())


def test_a_tokenizer_that_does_not_belong_to_the_checkpoint_is_refused(tmp_path):
    tokenizer = Tokenizer()
    saved(tmp_path, "bert-mlm")
    type(tokenizer).__len__, before = (lambda self: 51), type(tokenizer).__len__
    try:
        with pytest.raises(ModelError, match=r"51 entries.*only 50"):
            load_language_model(str(tmp_path), "mlm", tokenizer)
    finally:
        type(tokenizer).__len__ = before
    with pytest.raises(ModelError, match="mask token"):
        load_language_model(str(tmp_path), "mlm", Causal())


def test_unknown_families_sizes_and_objectives_are_refused():
    for given, message in [
        (("mlm", "gpt2", "tiny"), "made for objective clm"),
        (("mlm", "nothing", "tiny"), "'nothing' is unknown"),
        (("mlm", "bert", "huge"), "size 'huge' is unknown"),
        (("nsp", "bert", "tiny"), "objective 'nsp' is unknown"),
    ]:
        with pytest.raises(SettingError, match=message):
            new_language_model(*given, Tokenizer(), length=8)
