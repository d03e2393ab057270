"""A mixture is a classifier like any other: to pipelines, evaluation, attacks, and gradients through its gate."""

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import families
import numpy as np
import pytest
import torch
from mixtures import KINDS, NAMES, asked, calibration, mixture_of, shape_of, trained
from puppets import random_model
from torch import nn
from transformers import TrainingArguments

from sparring.adapters.adapter import adapter_of, attach
from sparring.adapters.gates import Gate
from sparring.adapters.mixture import AdapterMixture
from sparring.attack.fast import _pack, fast
from sparring.attack.victim import ModelVictim, as_victim
from sparring.evaluate.clean import evaluate, make_batches, predict
from sparring.evaluate.robust import EmbeddingAttack, robust_curve
from sparring.methods import METHODS, method
from sparring.methods.loop import LoopEngine
from sparring.model.load import load_classifier
from sparring.model.view import ModelView
from sparring.train.trainer import AdversarialTrainer

TEXTS = [("a good film",), ("bad",), ("the plot of the book was not very good and dull",), ("",)]
kinds = pytest.mark.parametrize("kind", KINDS)


def classifier(kind="lora", **settings):
    """A mixture and the tokenizer of its base."""
    base, tokenizer = random_model()
    adapters = {NAMES[i]: trained(base, shape_of(kind), i)[1] for i in range(2)}
    settings = {"gate": Gate(), "calibration": calibration(0.1, 0.6, 2)} | settings
    return AdapterMixture(copy.deepcopy(base), adapters, head="mixed", **settings), tokenizer


@kinds
@pytest.mark.parametrize("combine", ["mixup", "logits", "vote"])
def test_the_form_that_answers_fast_is_the_same_function_and_ends_on_one_token(kind, combine):
    model = mixture_of(kind, combine=combine)
    made = fast(model, half=False)
    last, rows = made.base.bert.encoder.layer[-1].layer, []
    last.intermediate.dense.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[1]))
    given = {name: x for name, x in asked().items() if name != "labels"}
    with torch.no_grad():
        found, wanted = made(**given), model(**given)
    assert found.logits == pytest.approx(wanted.logits, abs=1e-12) and set(rows) == {1}
    assert found.adapter_logits == pytest.approx(wanted.adapter_logits, abs=1e-12)


def words(tokenizer, text):
    return tokenizer(text, return_tensors="pt")


def test_it_works_in_a_pipeline_which_does_not_complain(caplog):
    from transformers import pipeline
    from transformers.utils import logging

    mixture, tokenizer = classifier()
    mixture.config.id2label = {0: "neg", 1: "pos"}
    logging.enable_propagation()
    try:
        pipe = pipeline("text-classification", model=mixture, tokenizer=tokenizer, device="cpu", batch_size=3)
        found = pipe([text for (text,) in TEXTS], top_k=None)
    finally:
        logging.disable_propagation()
    assert "not supported" not in caplog.text and "AdapterMixture" in repr(pipe)
    for (text,), scores in zip(TEXTS, found, strict=True):
        wanted = mixture(**words(tokenizer, text)).logits.softmax(-1)[0]
        assert {s["label"]: s["score"] for s in scores} == {
            "neg": pytest.approx(float(wanted[0]), abs=1e-6),
            "pos": pytest.approx(float(wanted[1]), abs=1e-6),
        }


@kinds
def test_it_is_a_victim_in_full_and_in_half_precision_on_several_threads(kind, tmp_path):
    base, tokenizer = random_model()
    base.save_pretrained(tmp_path / "base")
    base = load_classifier(str(tmp_path / "base"), ["neg", "pos"], tokenizer).eval()
    adapters = {NAMES[i]: trained(base, shape_of(kind), i)[1] for i in range(2)}
    mixture = AdapterMixture(base, adapters, head="mixed", gate=Gate(name="entropy_ratio"))
    wanted = [mixture(**words(tokenizer, text)).logits[0].double().log_softmax(-1).numpy() for (text,) in TEXTS]
    mixture.save_pretrained(tmp_path / "mix", tokenizer)
    for given in ((mixture, tokenizer), mixture, tmp_path / "mix"):
        made = as_victim(given, half=False, max_length=39)
        assert isinstance(made, ModelVictim)
        for service in (made.exact, made.quick):
            assert np.stack(service.answer(TEXTS)) == pytest.approx(np.stack(wanted), abs=1e-5)
    near = np.stack(ModelVictim(mixture, tokenizer, half=True, max_length=39).quick.answer(TEXTS))
    assert np.abs(near - np.stack(wanted)).max() < 0.2
    half = fast(mixture, half=True)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16} and half.digest() != mixture.digest()
    with ThreadPoolExecutor(4) as pool:
        inputs = [words(tokenizer, text) for (text,) in TEXTS] * 8
        found = list(pool.map(lambda given: mixture(**given).logits[0].detach().double().log_softmax(-1), inputs))
    assert np.stack([x.numpy() for x in found]) == pytest.approx(np.stack(wanted * 8), abs=1e-6)


class Plainly(nn.Module):
    """What a packed layer computes, on any processor."""

    def __init__(self, layer, then):
        super().__init__()
        self.layer, self.then = layer, then

    def forward(self, x):
        return nn.functional.gelu(self.layer(x)) if self.then == "gelu" else self.layer(x)


@kinds
def test_packing_reaches_the_layers_inside_adapted_ones_and_changes_no_answer(kind, monkeypatch):
    """Packing needs layers of 4,096 weights: a base of width 64."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=50)
    base = BertForSequenceClassification(config).eval()
    nn.init.normal_(base.classifier.weight)
    adapters = {NAMES[i]: trained(base, shape_of(kind), i, "frozen")[1] for i in range(2)}
    mixture = AdapterMixture(base, adapters, gate=Gate(name="entropy_ratio"))
    exact, near = mixture(**asked()), fast(mixture, half=True)(**asked())
    assert torch.allclose(near.adapter_logits.float(), exact.adapter_logits, atol=0.1)
    assert float((exact.adapter_logits[:, 0] - exact.adapter_logits[:, 1]).abs().max()) > 0.1
    assert torch.allclose(near.mixing, exact.mixing, atol=0.1)
    monkeypatch.setattr("sparring.attack.fast._Packed", Plainly)
    packed = copy.deepcopy(mixture)
    _pack(packed)
    assert sum(isinstance(module, Plainly) for module in packed.modules()) == 2 * 6 + 1
    assert torch.allclose(packed(**asked()).logits, exact.logits, atol=1e-6)


@kinds
def test_it_is_evaluated_as_any_model_with_and_without_a_view(kind):
    mixture, tokenizer = classifier(kind)
    batches = list(make_batches(tokenizer, TEXTS, [1, 0, 0, 1], max_length=39, batch_size=2))
    found = predict(mixture, batches)
    view = ModelView(mixture)
    assert torch.equal(found.logits, predict(view, batches).logits)
    wanted = torch.cat([mixture(**words(tokenizer, text)).logits for (text,) in TEXTS])
    assert torch.allclose(found.logits, wanted, atol=1e-5)
    loss = mixture(**{**batches[0].inputs, "labels": batches[0].targets}).loss
    assert float(loss) == pytest.approx(evaluate(mixture, batches[:1], "accuracy")["loss"], abs=1e-5)


@kinds
def test_under_autocast_it_answers_nearly_the_same(kind):
    mixture, tokenizer = classifier(kind)
    batches = list(make_batches(tokenizer, TEXTS, [1, 0, 0, 1], max_length=39, batch_size=4))
    exact, near = (predict(mixture, batches, autocast=dtype).logits for dtype in (None, torch.bfloat16))
    assert not torch.equal(exact, near) and float((exact - near).abs().max()) < 0.2


def test_it_can_be_attacked_in_embedding_space():
    mixture, tokenizer = classifier()
    batches = list(make_batches(tokenizer, TEXTS, [1, 0, 0, 1], max_length=39, batch_size=4))
    wanted = predict(mixture, batches)
    right = [dataclasses.replace(batch, targets=wanted.answers[batch.rows]) for batch in batches]
    points = robust_curve(mixture, right, EmbeddingAttack(radii=(0.0, "20x"), steps=5, restarts=1))
    assert points[0].accuracy == 1 and points[-1].accuracy < 1


@kinds
@pytest.mark.parametrize("combine", ["mixup", "logits"])
@pytest.mark.parametrize("site", ["word", "hidden"])
def test_gradients_go_through_the_gate(kind, combine, site):
    """Against differences of the whole: the same perturbation in both passes, in all copies of a row."""
    mixture = mixture_of(kind, gate=Gate(), calibration=calibration(0.0, 1.09), combine=combine)
    batch, view = families.batch(), ModelView(mixture, site=site)
    view.check(batch)

    def loss(delta):
        return nn.functional.cross_entropy(view.probe(batch, delta), batch.targets)

    delta = (0.05 * torch.randn(view.zeros(batch).shape, dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(delta), delta)
    direction = torch.randn_like(delta) * batch.real.unsqueeze(-1)
    with torch.no_grad():
        step = 1e-6 * direction
        slope = (loss(delta + step) - loss(delta - step)) / 2e-6
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-5)
    view.remove()


def test_the_gradient_with_the_gate_is_another_than_without():
    mixture = mixture_of(gate=Gate(name="softmax_neg_entropy"))
    batch, view = families.batch(), ModelView(mixture)
    delta = view.zeros(batch).requires_grad_()
    (through,) = torch.autograd.grad(view.probe(batch, delta)[:, 0].sum(), delta)
    weights = mixture(**asked()).weights.detach()
    mixture.forward = lambda **given: mixture.mixed(weights, **given)
    view._row_copies = lambda: (1,)
    (around,) = torch.autograd.grad(view.probe(batch, delta)[:, 0].sum(), delta)
    assert float((through - around).abs().max()) > 1e-4


def test_a_vote_has_a_gradient_of_zero():
    mixture, tokenizer = classifier(combine="vote")
    (found,) = ModelVictim(mixture, tokenizer, half=False, max_length=39).gradient.answer([(TEXTS[0], 1)])
    assert not found.gradient.any()


def test_it_stays_in_eval_mode():
    mixture = mixture_of()
    assert not mixture.train().training and not any(module.training for module in mixture.modules())


@pytest.mark.parametrize("kind", ["lora", "houlsby"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_an_attached_adapter(kind, name):
    model = attach(families.tiny("bert", dtype=torch.float32), shape_of(kind))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    trained_by = method(name)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    engine = LoopEngine(trained_by, trained_by.view(model), optimizer, total_steps=2)
    for key in range(2):
        engine.iterate(families.batch(key=key))
    for n, p in model.named_parameters():
        assert torch.equal(p, before[n]) or p.requires_grad, n
    assert not all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@pytest.mark.parametrize("kind", ["lora", "pfeiffer"])
def test_a_trainer_trains_an_adapter_and_goes_on_from_a_checkpoint(kind, tmp_path):
    given = families.inputs((6,) * 16)
    rows = [{name: x[number] for name, x in given.items()} for number in range(16)]

    def trainer(folder):
        return AdversarialTrainer(
            model=attach(families.tiny("bert", dtype=torch.float32), shape_of(kind)),
            args=TrainingArguments(
                str(folder),
                per_device_train_batch_size=4,
                num_train_epochs=1,
                save_steps=2,
                learning_rate=0.01,
                logging_steps=1,
                use_cpu=True,
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=rows,
            data_collator=lambda batch: {name: torch.stack([row[name] for row in batch]) for name in batch[0]},
            method=method("fgm"),
        )

    whole = trainer(tmp_path)
    whole.train()
    resumed = trainer(tmp_path / "again")  # which seeds the order of the rows
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    one, other = (adapter_of(made.model, shape_of(kind)) for made in (whole, resumed))
    families.assert_same(one.tensors, other.tensors)
    families.assert_same(one.head, other.head)
    start = adapter_of(attach(families.tiny("bert", dtype=torch.float32), shape_of(kind)), shape_of(kind))
    assert one.base == start.base and not all(torch.equal(x, start.tensors[n]) for n, x in one.tensors.items())


@pytest.mark.parametrize("kind", ["lora", "pfeiffer"])
def test_clean_and_adversarial_adapters_that_were_trained_mix_to_both(kind):
    """The toy of the idea: each adapter knows its own inputs, and is unsure of the other's."""
    torch.manual_seed(0)
    base = families.tiny("bert", labels=2, dtype=torch.float32)
    source = torch.Generator().manual_seed(4)

    def rows(low, count):
        """A class has five tokens of its own in each set."""
        labels = torch.arange(count) % 2
        return low + 5 * labels.unsqueeze(1) + torch.randint(0, 5, (count, 6), generator=source), labels

    sets, adapters = {"clean": 5, "attack": 30}, {}
    for name, low in sets.items():
        model = attach(copy.deepcopy(base), shape_of(kind, rank=8, reduction=1)).train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
        other = next(value for value in sets.values() if value != low)
        for _ in range(40):
            ids, labels = rows(low, 32)
            strange, _ = rows(other, 32)
            unsure = -model(input_ids=strange).logits.log_softmax(-1).mean()
            loss = model(input_ids=ids, labels=labels).loss + unsure
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        adapters[name] = adapter_of(model.eval(), shape_of(kind, rank=8, reduction=1))
    mixture = AdapterMixture(
        base.eval(), adapters, head="mixed", gate=Gate(name="softmax_neg_entropy", temperature=0.05)
    )
    shares = []
    for low in sets.values():
        ids, labels = rows(low, 200)
        output = mixture(input_ids=ids)
        assert float((output.logits.argmax(1) == labels).float().mean()) >= 0.9
        shares.append(float(output.mixing.mean()))
    assert shares[0] > 0.9 and shares[1] < 0.1  # it says which attack an input resembles


def test_a_query_of_the_attack_costs_two_forwards_of_m_plus_2_times_its_rows():
    mixture, tokenizer = classifier()
    seen = []
    mixture.base.register_forward_pre_hook(lambda _, a, given: seen.append(len(given["input_ids"])), with_kwargs=True)
    ModelVictim(mixture, tokenizer, half=False, max_length=39).exact.answer(TEXTS)
    assert sum(seen) == len(TEXTS) * (len(mixture.names) + 1)
