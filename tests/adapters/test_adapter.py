"""One adapter: what it trains, how large it is, and that a folder holds all of it."""

import copy
import json

import families
import pytest
import torch
from families import inputs
from mixtures import KINDS, asked, base_model, shape_of, trained
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BertConfig, BertForSequenceClassification

from sparring.adapters.adapter import adapter_of, attach, read_adapter, save_adapter
from sparring.adapters.base import digest
from sparring.adapters.bottleneck import bottleneck_sites
from sparring.adapters.shape import AdapterShape
from sparring.errors import ModelError, RunError, SettingError

kinds = pytest.mark.parametrize("kind", KINDS)


def bert(width, layers):
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        vocab_size=100,
    )
    with torch.device("meta"):
        return BertForSequenceClassification(config)


@pytest.mark.parametrize(
    ("kind", "width", "layers", "wanted"),
    [
        ("pfeiffer", 768, 1, 74_544),
        ("pfeiffer", 768, 12, 894_528),
        ("houlsby", 768, 12, 1_789_056),
        ("lora", 768, 12, 294_912),
        ("pfeiffer", 1024, 24, 3_171_840),
        ("lora", 1024, 24, 786_432),
    ],
)
def test_parameters_of_adapters_by_default_in_bert(kind, width, layers, wanted):
    shape = AdapterShape(kind=kind)
    model = attach(bert(width, layers), shape, head="frozen")
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == wanted


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "deberta-v2"])
@kinds
def test_a_new_adapter_changes_no_bit_of_any_answer(family, kind):
    base = base_model(family)
    model = attach(copy.deepcopy(base), shape_of(kind), seed=1).eval()
    assert torch.equal(model(**asked()).logits, base(**asked()).logits)


@pytest.mark.parametrize("family", ["albert", "distilbert", "modernbert", "gpt2", "t5"])
def test_architectures_that_bottlenecks_are_not_made_for_are_refused(family):
    with pytest.raises(ModelError, match="no layers built like BERT's"):
        attach(base_model(family), shape_of("pfeiffer"))


def test_the_adapter_sits_where_the_papers_have_it():
    base = base_model()
    assert [name.removeprefix("bert.encoder.layer.") for name in bottleneck_sites(base, "pfeiffer")] == [
        "0.output",
        "1.output",
    ]
    assert len(bottleneck_sites(base, "houlsby")) == 4
    for kind in ("pfeiffer", "houlsby"):
        model, adapter = trained(base, shape_of(kind), 1)
        layer = model.bert.encoder.layer[0].output
        own = adapter.sites["bert.encoder.layer.0.output"]
        x, residual = torch.randn(2, 5, 24, dtype=torch.float64), torch.randn(2, 5, 16, dtype=torch.float64)
        h, norm = layer.inner.dense(x), layer.inner.LayerNorm
        seen = norm(h + residual) if kind == "pfeiffer" else h
        hidden = seen @ own["down"].T + own["down_bias"]
        hidden = hidden.clamp(min=0) if kind == "pfeiffer" else hidden * hidden.sigmoid()
        wanted = norm(h + hidden @ own["up"].T + own["up_bias"] + residual)
        assert torch.allclose(layer(x, residual), wanted, atol=1e-12)


@kinds
@pytest.mark.parametrize("head", ["trained", "frozen"])
def test_only_the_adapter_and_if_wanted_the_head_are_trained(kind, head):
    base = base_model()
    before = {name: x.clone() for name, x in base.state_dict().items()}
    model = attach(copy.deepcopy(base), shape_of(kind), head=head).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(**inputs()).loss.backward()
        optimizer.step()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    adapter = adapter_of(model, shape_of(kind))
    assert adapter.base.sha256 == digest(base) == digest(model)
    assert all(bool(x.any()) for name, x in adapter.tensors.items() if name.endswith((".up", ".b")))
    if head == "frozen":
        assert adapter.head is None
    else:
        assert set(adapter.head) == {"classifier.weight", "classifier.bias"}
        assert not torch.equal(adapter.head["classifier.weight"], before["classifier.weight"])


@kinds
def test_the_seed_decides_the_initialisation_and_nothing_else_does(kind):
    base = base_model()

    def new(seed):
        torch.rand(3)  # draws by others in between
        return adapter_of(attach(copy.deepcopy(base), shape_of(kind), seed=seed), shape_of(kind)).tensors

    first, again, other = new(1), new(1), new(2)
    families.assert_same(first, again)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_attaching_leaves_the_global_random_numbers_alone():
    base = base_model()
    for kind in KINDS:
        torch.manual_seed(5)
        attach(copy.deepcopy(base), shape_of(kind), seed=9)
        after = torch.rand(3)
        torch.manual_seed(5)
        assert torch.equal(after, torch.rand(3))


@kinds
@pytest.mark.parametrize("head", ["trained", "frozen"])
def test_a_folder_holds_all_of_an_adapter(kind, head, tmp_path):
    _, adapter = trained(base_model(), shape_of(kind), 1, head)
    save_adapter(adapter, tmp_path / "one")
    found = read_adapter(tmp_path / "one")
    families.assert_same(found.tensors, adapter.tensors)
    assert (found.head is None) == (adapter.head is None)
    if adapter.head:
        families.assert_same(found.head, adapter.head)
    assert (found.shape.kind, found.base, found.attack) == (kind, adapter.base, "textfooler")
    assert found.misfit(adapter) is None
    with pytest.raises(RunError, match="exists"):
        save_adapter(adapter, tmp_path / "one")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_peft_reads_our_lora_and_we_read_that_of_peft(tmp_path):
    base = base_model()
    model, adapter = trained(base, shape_of("lora"), 1)
    save_adapter(adapter, tmp_path / "ours")
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "ours")).eval()
    assert torch.allclose(loaded(**asked()).logits, model(**asked()).logits, atol=1e-12)
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["query", "value"], task_type="SEQ_CLS", use_rslora=True)
    theirs = get_peft_model(copy.deepcopy(base), config)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    found = read_adapter(tmp_path / "theirs")
    assert found.shape.scaling == pytest.approx(6 / 2**0.5) and found.base is None
    assert set(found.head) == {"classifier.weight", "classifier.bias"} and len(found.sites) == 4


@pytest.mark.parametrize("variant", [{"use_dora": True}, {"bias": "all"}, {"rank_pattern": {"query": 4}}])
def test_variants_of_lora_are_refused(variant, tmp_path):
    config = LoraConfig(r=2, target_modules=["query"], **variant)
    get_peft_model(base_model(), config).save_pretrained(str(tmp_path / "odd"))
    with pytest.raises(ModelError, match=f"{next(iter(variant))}.*only plain LoRA"):
        read_adapter(tmp_path / "odd")


def test_a_folder_without_an_adapter_or_with_half_of_one_is_named(tmp_path):
    with pytest.raises(ModelError, match="holds no adapter"):
        read_adapter(tmp_path)
    _, adapter = trained(base_model(), shape_of("pfeiffer"), 1)
    save_adapter(adapter, tmp_path / "one")
    weights = tmp_path / "one" / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="one cannot be read"):
        read_adapter(tmp_path / "one")
    (tmp_path / "one" / "adapter.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(ModelError, match="one cannot be read"):
        read_adapter(tmp_path / "one")


def test_settings_of_an_adapter_are_checked():
    with pytest.raises(SettingError, match="rank"):
        AdapterShape(rank=0)
    with pytest.raises(SettingError, match="leaves no hidden unit"):
        attach(base_model(), AdapterShape(kind="pfeiffer", reduction=17))
    with pytest.raises(ModelError, match="cannot put LoRA into BertForSequenceClassification"):
        attach(base_model(), AdapterShape(targets="nothing"))
