"""What every method promises, on every family of models: the rules that decide correctness more than a method does."""

from functools import cache

import pytest
import torch
from families import FAMILIES, LANGUAGE_MODELS, Recorder, Run, assert_same, batch, inputs, lm_batch

from sparring.errors import SettingError
from sparring.methods import METHODS, method

NAMES = tuple(METHODS)
INNER = ("fgm", "pgd", "vat", "smart", "alum", "cat", "mat")  # methods that ask for a gradient of their own
each_method = pytest.mark.parametrize("name", NAMES)
each_family = pytest.mark.parametrize("family", FAMILIES)

SINGLE = ("llama", "qwen2", "qwen3", "gemma", "gemma3", "t5", "llama-lm")  # their norms compute in float32
REUSING = ("albert", "deberta-v2", "t5", "bart", *LANGUAGE_MODELS)  # use a weight more than once in a pass
TWO_PASSES = ("fgm", "rdrop", "cat")  # add up the gradients of two equal passes when neutral


def close(family):
    """How far two computations of the same number may be apart, in a model otherwise of float64."""
    return 1e-6 if family in SINGLE else 1e-10


def rounding(family, name):
    """The last bit depends on the order of a sum where two passes use the same weight twice each; else on nothing."""
    return 1e-14 if name in TWO_PASSES and family in REUSING else 0.0


@pytest.fixture(scope="module")
def plain(tiny):
    """One step of plain training, for each family and optimiser; computed once."""
    return cache(lambda family, optimizer: Run("standard", tiny(family), optimizer=optimizer).step(batch()))


@pytest.fixture(scope="module")
def plain_weights(tiny):
    """The weights after two steps of plain training, for each family; computed once."""
    return cache(lambda family: Run("standard", tiny(family)).step(batch()).step(batch(key=8)).weights)


@each_method
@each_family
def test_at_its_neutral_setting_a_method_is_plain_training(tiny, plain, family, name):
    run = Run(name, tiny(family), optimizer=torch.optim.AdamW, **METHODS[name].neutral)
    run.step(batch())
    expected = plain(family, torch.optim.AdamW)
    own = {key: value for key, value in run.gradients.items() if key in expected.gradients}
    within = rounding(family, name)
    if name == "fgm":  # counts the clean sentence twice
        assert_same(own, {key: 2 * value for key, value in expected.gradients.items()}, within, name)
        return
    assert_same(own, expected.gradients, within, name)
    if not within:  # Adam divides a gradient of zero but for rounding by itself
        assert_same(run.weights, expected.weights, what=name)


@each_family
def test_plain_training_is_what_hugging_face_does(tiny, plain, family):
    model = tiny(family)
    model.config.problem_type = "single_label_classification"  # else DeBERTa computes its loss in float32
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(**inputs()).loss.backward()
    theirs = {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    ours = Run("standard", tiny(family), optimizer=torch.optim.AdamW).step(batch(smoothing=0.0))
    assert_same(ours.gradients, theirs)
    assert_same(ours.weights, dict(model.named_parameters()))


@each_method
@each_family
def test_padding_is_inert(tiny, family, name):
    longest = max(batch().real.sum(1))
    left, right = (batch(total=2 * longest, side=side) for side in ("left", "right"))
    for tensor in ("real", "perturbable", "targets", "rows"):
        assert torch.equal(getattr(left, tensor), getattr(right, tensor))
    assert_same(left.inputs, right.inputs)
    short, long = Run(name, tiny(family)).step(batch()), Run(name, tiny(family)).step(left)
    assert len(short.deltas) == len(long.deltas)
    for a, b in zip(short.deltas, long.deltas, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            real = batch().real.unsqueeze(-1)
            assert float(((a - b[:, :longest]) * real).abs().max()) <= close(family), f"{name}: another perturbation"
    assert_same(short.logs, long.logs, close(family), name)
    if name == "mat":  # its gradients are those of weights that moved, each time by a step of length 0.1
        assert_same(short.weights, long.weights, 10 * close(family), name)
    else:
        assert_same(short.gradients, long.gradients, close(family), name)


@each_method
@pytest.mark.parametrize("family", ["bert", "albert", "deberta-v2", "gpt2", "gemma", "t5"])
def test_default_settings_act(tiny, plain_weights, family, name):
    run = Run(name, tiny(family), optimizer=torch.optim.SGD)
    run.step(batch()).step(batch(key=8))
    if name == "rdrop":
        assert float(run.logs["smooth"]) == 0  # two equal passes where there is no dropout
    elif name != "standard":
        expected = plain_weights(family)
        change = max(float((value - expected[key]).abs().max()) for key, value in run.weights.items())
        assert change > 1e-6


class Idle(Recorder):
    """An engine that computes no weight gradient and makes no update."""

    def backward(self, loss):
        loss.detach()

    def update(self):
        pass


@each_method
@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_the_inner_player_leaves_the_weight_gradients_alone(tiny, family, name):
    model, rule = tiny(family), method(name)
    view = rule.view(model)
    engine = Idle(rule, view, torch.optim.SGD(model.parameters(), lr=0.0))
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 3.5)
    rule.train_on(view, [batch()], engine)
    assert all(bool((weight.grad == 3.5).all()) for weight in model.parameters())


def parts(make):
    """The sentences of a batch in two micro-batches, each only as long as its own longest sentence."""
    return make((6, 4), first=0), make((5, 3), first=2)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("mat", "cat")])
@pytest.mark.parametrize("family", ["bert", "albert", "llama", "t5"])
def test_two_micro_batches_are_one_batch(tiny, family, name):
    big, small = Run(name, tiny(family)), Run(name, tiny(family))
    for key in (7, 8):  # SMART's teacher differs from the weights in the second step only
        big.step(batch((6, 4, 5, 3), key=key))
        small.step(*parts(lambda *args, key=key, **kwargs: batch(*args, key=key, **kwargs)))
        assert_same(big.logs, small.logs, close(family), name)
        assert_same(big.gradients, small.gradients, close(family), name)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("mat", "cat")])
@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_two_micro_batches_of_tokens_weigh_as_many_as_their_targets(tiny, family, name):
    big = Run(name, tiny(family)).step(lm_batch(family, (6, 4, 5, 3)))
    small = Run(name, tiny(family)).step(*parts(lambda *args, **kwargs: lm_batch(family, *args, **kwargs)))
    assert_same(big.logs, small.logs, close(family), name)
    assert_same(big.gradients, small.gradients, close(family), name)


@each_method
@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_language_models_train_neutrally_and_without_padding(tiny, family, name):
    if name == "cat":
        with pytest.raises(SettingError, match="one vector a sentence"):
            Run(name, tiny(family)).step(lm_batch(family))
        return
    expected = Run("standard", tiny(family)).step(lm_batch(family))
    neutral = Run(name, tiny(family), **METHODS[name].neutral).step(lm_batch(family))
    factor = 2 if name == "fgm" else 1
    doubled = {key: factor * value for key, value in expected.gradients.items()}
    assert_same(neutral.gradients, doubled, rounding(family, name), name)
    default = Run(name, tiny(family)).step(lm_batch(family))
    padded = Run(name, tiny(family)).step(lm_batch(family, total=12, side="left"))
    assert_same(default.logs, padded.logs, close(family), name)
    if name != "mat":
        assert_same(default.gradients, padded.gradients, close(family), name)


def test_mat_refuses_micro_batches(tiny):
    with pytest.raises(SettingError, match="gradient_accumulation_steps=1"):
        Run("mat", tiny("bert")).step(batch(), batch())


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_cat_on_micro_batches_is_the_weighted_sum_of_cat_on_each(tiny, family):
    first, second = batch((6, 4, 5)), batch((3,) * 2, first=3)
    both = Run("cat", tiny(family)).step(first, second)
    alone = [Run("cat", tiny(family)).step(part).gradients for part in (first, second)]
    expected = {name: 3 / 5 * alone[0][name] + 2 / 5 * alone[1][name] for name in alone[0]}
    assert_same(both.gradients, expected, close(family))


class Broken(Exception):
    pass


def breaking(model, at):
    """Make the model fail late in its forward pass number `at`."""
    passes = [0]

    def hook(*_):
        passes[0] += 1
        if passes[0] == at:
            raise Broken

    return model.classifier.register_forward_hook(hook)


def state(model):
    """Everything a method may disturb for a while."""
    flags = [p.requires_grad for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    hooks = [
        (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in model.modules()
    ]
    return flags, modes, hooks


@each_method
@pytest.mark.parametrize("policy", ["fresh", "shared", "off_inner"])
def test_a_failed_forward_pass_leaves_the_model_as_it_was(tiny, name, policy):
    settings = {"dropout": policy} if "dropout" in METHODS[name].__dataclass_fields__ else {}
    if name == "smart":
        settings["proximal"] = 1.0
    model = tiny("bert", dropout=0.2)
    model.bert.encoder.layer[1].eval()  # not all modules are in the same mode
    model.bert.pooler.dense.weight.requires_grad_(False)
    model(**inputs(), output_hidden_states=True)  # makes transformers install the hooks it keeps
    run = Run(name, model, **settings)
    intact = state(model)
    run.step(batch())
    assert state(model) == intact, "after a whole step"
    for at in range(1, len(run.deltas) + 1):
        hook, before, weights = breaking(model, at), state(model), run.weights
        with pytest.raises(Broken):
            run.step(batch())
        assert state(model) == before, f"pass {at}"
        if name != "mat":  # which has made whole updates by then
            assert_same(weights, run.weights, what=f"pass {at}")
        hook.remove()
        model.zero_grad()
    model.eval()
    given = batch()
    with torch.no_grad():
        assert torch.equal(run.view.logits(given), model(**given.inputs).logits), "a perturbation lingers"


def tampered(monkeypatch, value, row=1):
    """Gradients with respect to perturbations come out as `value` in one sentence."""
    original = torch.autograd.grad

    def grad(*args, **kwargs):
        return tuple(g.index_fill(0, torch.tensor([row]), value) for g in original(*args, **kwargs))

    monkeypatch.setattr(torch.autograd, "grad", grad)


VARIANTS = [(name, {}) for name in INNER] + [
    ("fgm", {"norm": "linf"}),
    ("smart", {"variant": "released"}),
    ("alum", {"variant": "released"}),
    ("alum", {"variant": "first_release"}),
    ("mat", {"variant": "released"}),
    ("cat", {"norm": "row_l2"}),
    ("cat", {"norm": "global_l2"}),
]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_a_gradient_that_is_not_finite_costs_its_own_sentence_only(tiny, monkeypatch, name, settings, value):
    expected = Run(name, tiny("bert"), **settings).step(batch())
    tampered(monkeypatch, value)
    run = Run(name, tiny("bert"), **settings).step(batch())
    assert run.view.skipped.tolist() == [False, True, False]
    assert all(bool(weight.isfinite().all()) for weight in run.weights.values())
    assert all(bool(term.isfinite()) for term in run.logs.values())
    if name == "cat":
        return  # its sentences share rows of one matrix
    for a, b in zip(run.deltas, expected.deltas, strict=True):
        assert a is None or torch.equal(a[[0, 2]], b[[0, 2]])


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_a_sentence_without_a_gradient_makes_no_nan(tiny, monkeypatch, name, settings):
    tampered(monkeypatch, 0.0)
    run = Run(name, tiny("bert"), **settings).step(batch())
    assert not bool(run.view.skipped.any())
    assert all(bool(delta.isfinite().all()) for delta in run.deltas if delta is not None)
    assert all(bool(weight.isfinite().all()) for weight in run.weights.values())


@pytest.mark.parametrize("name", ["pgd", "fgm", "vat", "alum"])
def test_a_skipped_sentence_is_trained_on_unperturbed(tiny, monkeypatch, name):
    tampered(monkeypatch, float("nan"))
    bad = Run(name, tiny("bert")).step(batch())
    zeroed = bad.deltas[-1].index_fill(0, torch.tensor([1]), 0.0)
    view, given = method("standard").view(tiny("bert")), batch()
    view.site = bad.view.site
    by_hand = method(name).view(tiny("bert"))
    with torch.no_grad():
        expected = by_hand.logits(given, zeroed)
        assert torch.equal(by_hand.logits(given, bad.deltas[-1]), expected)
        assert torch.allclose(expected[1], view.logits(given)[1], atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_declared_neutral_exists_and_the_printed_ones_are_valid(name):
    assert method(name, **METHODS[name].neutral)
    if METHODS[name].printed:
        assert method(name, "printed").name == name
    else:  # or somebody would take the defaults for the paper's
        with pytest.raises(SettingError, match="no printed preset"):
            method(name, "printed")
