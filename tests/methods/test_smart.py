"""SMART and ALUM: the same perturbation, and what each builds on it."""

import pytest
import torch
from families import Recorder, Run, assert_same, batch, lm_batch

from sparring.methods import method
from sparring.methods.smart import _surrogate
from sparring.objective import kl, symmetric_kl, task_loss
from sparring.perturb.draws import normal

BALL = {"radius": 0.2, "step_size": 0.15, "noise": 0.02}


def per_token(delta, given):
    return delta.abs().amax(-1)[given.real]


def hidden(model, given, delta=None):
    """Logits from the output of BERT's own embedding block, perturbed, without any hook."""
    embedded = model.bert.embeddings(input_ids=given.inputs["input_ids"])
    shifted = embedded if delta is None else embedded + delta
    mask = given.inputs["attention_mask"].bool()[:, None, None, :].expand(-1, -1, shifted.shape[1], -1)
    states = model.bert.encoder(shifted, attention_mask=mask)[0]
    return model.classifier(model.bert.pooler(states))


def test_the_hand_made_pass_is_the_models(tiny):
    model = tiny("bert")
    assert torch.allclose(hidden(model, batch()), model(**batch().inputs).logits, atol=1e-12)


@pytest.mark.parametrize("name", ["smart", "alum"])
def test_the_papers_perturbation_is_the_one_by_hand(tiny, name):
    run = Run(name, tiny("bert"), steps=3, weight=0.8, **BALL).step(batch())
    model, given = tiny("bert"), batch()
    clean, divergence = hidden(model, given).detach(), symmetric_kl if name == "smart" else kl
    start = 0.02 * normal(given, torch.zeros(3, 6, 16, dtype=torch.float64), "start")
    delta = start
    for _ in range(3):
        delta = delta.detach().requires_grad_()
        (g,) = torch.autograd.grad(divergence(clean, hidden(model, given, delta), "sum"), delta)
        delta = (delta + 0.15 * g / g.abs().amax((1, 2), keepdim=True)).clamp(-0.2, 0.2).detach()
    assert torch.allclose(run.deltas[-1], delta, atol=1e-10)
    assert float(delta.abs().max()) <= 0.2 and bool((delta[given.real] != 0).all())
    starts = [d for d in run.deltas if d is not None and torch.equal(d, start)]
    assert starts, "the first probe is at the random start: at zero the divergence has no gradient"
    plain, bad = hidden(model, given), hidden(model, given, delta)
    (task_loss(plain, given) + 0.8 * symmetric_kl(bad, plain)).backward()
    for key, weight in model.named_parameters():
        assert torch.allclose(run.gradients[key], weight.grad, atol=1e-9), key


@pytest.mark.parametrize("name", ["smart", "alum"])
@pytest.mark.parametrize("radius", [0.01, "0.3x"])
def test_the_papers_perturbation_never_leaves_its_ball(tiny, name, radius):
    run = Run(name, tiny("bert"), radius=radius, noise=0.005, steps=4).step(batch())
    assert per_token(run.deltas[-1], batch()).max() <= run.view.size(radius, "linf") * (1 + 1e-12)


@pytest.mark.parametrize("name", ["smart", "alum"])
def test_the_released_perturbation_has_a_largest_entry_of_one_in_every_token(tiny, name):
    run = Run(name, tiny("bert"), variant="released", radius=1e-3).step(batch())
    sizes = per_token(run.deltas[-1], batch())
    assert float(sizes.min()) >= 0.9 and float(sizes.max()) <= 1 + 1e-12
    assert not bool(run.deltas[-1][~batch().real].any()), "padding is perturbed"


@pytest.mark.parametrize("name", ["smart", "alum"])
def test_the_released_perturbation_is_the_one_by_hand(tiny, name):
    model, given = tiny("bert"), batch()
    clean = hidden(model, given).detach()
    start = 0.02 * normal(given, torch.zeros(3, 6, 16, dtype=torch.float64), "start")

    def gradient(delta):
        delta = delta.detach().requires_grad_()
        noisy = hidden(model, given, delta)
        harm = _surrogate(noisy, clean) if name == "smart" else kl(clean, noisy, "mean")
        return torch.autograd.grad(harm, delta)[0]

    step_size = 0.02 / float(gradient(start).abs().mean())  # a step is about as large as the start, and not the sign
    run = Run(name, tiny("bert"), variant="released", steps=2, weight=0.8, noise=0.02, step_size=step_size).step(given)
    delta = start
    for _ in range(2):
        delta = delta + step_size * gradient(delta)
        delta = torch.where(given.real[..., None], delta / delta.abs().amax(-1, keepdim=True).clamp(min=1e-30), 0.0)
    assert torch.allclose(run.deltas[-1], delta, atol=1e-9)
    assert "proximal" not in run.logs and not run.engine.memory, "the released code of both has no teacher"
    if name == "smart":
        plain, bad = hidden(model, given), hidden(model, given, run.deltas[-1])
        smooth = kl(plain.detach(), bad) + kl(bad.detach(), plain)
        (task_loss(plain, given) + 0.8 * smooth).backward()
        for key, weight in model.named_parameters():
            assert torch.allclose(run.gradients[key], weight.grad, atol=1e-9), key


def test_alums_first_release_moves_every_token_by_the_step(tiny):
    run = Run("alum", tiny("bert"), variant="first_release", step_size=0.07, radius=1e-3).step(batch())
    assert torch.allclose(per_token(run.deltas[-1], batch()), torch.tensor(0.07, dtype=torch.float64))


@pytest.mark.parametrize("variant", ["released", "first_release"])
def test_alums_released_variants_hold_targets_constant(tiny, variant):
    run = Run("alum", tiny("bert"), variant=variant, weight=2.0).step(batch())
    model, given, delta = tiny("bert"), batch(), run.deltas[-1]
    clean = hidden(model, given)
    if variant == "released":  # embeddings of the adversarial pass are held constant too
        embedded = model.bert.embeddings(input_ids=given.inputs["input_ids"]).detach() + delta
        mask = given.inputs["attention_mask"].bool()[:, None, None, :].expand(-1, -1, 6, -1)
        bad = model.classifier(model.bert.pooler(model.bert.encoder(embedded, attention_mask=mask)[0]))
    else:
        bad = hidden(model, given, delta)
    (task_loss(clean, given) + 2 * kl(clean.detach(), bad) + 2 * kl(bad.detach(), clean)).backward()
    for key, weight in model.named_parameters():
        assert torch.allclose(run.gradients[key], weight.grad, atol=1e-9), key


def test_alums_paper_variant_trains_the_embeddings_through_the_adversarial_pass(tiny):
    paper, released = (Run("alum", tiny("bert"), variant=v, weight=1.0).step(batch()) for v in ("paper", "released"))
    plain = Run("standard", tiny("bert")).step(batch())
    key = "bert.embeddings.word_embeddings.weight"
    assert not torch.allclose(paper.gradients[key], plain.gradients[key], atol=1e-4)
    assert not torch.allclose(released.gradients[key], paper.gradients[key], atol=1e-4)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("detached", ["always", "never"])
def test_alums_embeddings_are_held_constant_or_not_under_any_variant(tiny, variant, detached):
    run = Run("alum", tiny("bert"), variant=variant, weight=2.0, detached=detached).step(batch())
    model, given, delta = tiny("bert"), batch(), run.deltas[-1]
    embedded = model.bert.embeddings(input_ids=given.inputs["input_ids"])
    held = embedded.detach() if detached == "always" else embedded
    mask = given.inputs["attention_mask"].bool()[:, None, None, :].expand(-1, -1, 6, -1)
    bad = model.classifier(model.bert.pooler(model.bert.encoder(held + delta, attention_mask=mask)[0]))
    clean = hidden(model, given)
    smooth = symmetric_kl(bad, clean) if variant == "paper" else kl(clean.detach(), bad) + kl(bad.detach(), clean)
    (task_loss(clean, given) + 2 * smooth).backward()
    for key, weight in model.named_parameters():
        assert torch.allclose(run.gradients[key], weight.grad, atol=1e-9), key


@pytest.mark.parametrize("name", ["bert-mlm", "gpt2-lm"])
def test_alum_pre_trains_on_scored_rows_only(tiny, name):
    run, given = Run("alum", tiny(name)).step(lm_batch(name)), lm_batch(name)
    plain = Run("standard", tiny(name)).step(lm_batch(name))
    assert float(run.logs["task"]) == pytest.approx(float(plain.logs["task"]))
    model = tiny(name)
    with torch.no_grad():
        view = method("alum").view(model)
        smooth = symmetric_kl(view.logits(given, run.deltas[-1]), view.logits(given))
    assert smooth.shape == () and float(run.logs["smooth"]) == pytest.approx(float(smooth))


def test_the_released_surrogate_is_no_divergence():
    a, b = (torch.randn(4, 3, generator=torch.Generator().manual_seed(s)).requires_grad_() for s in (0, 1))
    p, q = a.softmax(-1), b.softmax(-1).detach()
    expected = 2 * (p.detach() * ((p / (1 - p)).log() - (q / (1 - q)).log())).sum()
    found = _surrogate(a, b.detach())
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)
    ours, true = (torch.autograd.grad(loss, a)[0].flatten() for loss in (found, kl(a, b.detach(), "sum")))
    cosine = float(ours @ true / (ours.norm() * true.norm()))
    assert 0.9 < cosine < 0.99999, "the same direction roughly, not exactly"


MOMENTUM = {"momentum": 0.6, "late_momentum": 0.9, "early": 0.4}


def teacher(run):
    names = [name for name, _ in run.model.named_parameters()]
    return {name: run.engine.memory[f"teacher.{i}"].clone() for i, name in enumerate(names)}


def test_the_teacher_is_a_moving_average_that_slows_down(tiny):
    run = Run("smart", tiny("bert"), total_steps=5, **MOMENTUM)
    expected = run.weights
    for step in range(5):
        run.step(batch(key=step))
        keep = 0.6 if step < 2 else 0.9  # 0.4 of 5 updates are early
        expected = {name: keep * expected[name] + (1 - keep) * weight for name, weight in run.weights.items()}
        assert_same(teacher(run), expected, 1e-13, f"update {step}")
    assert not any(weight.requires_grad for weight in run.engine.memory.values())


def test_the_proximal_term_is_the_divergence_from_the_teacher(tiny):
    run = Run("smart", tiny("bert"), weight=0.0, proximal=1.5, **MOMENTUM).step(batch(key=1))
    assert float(run.logs["proximal"]) == 0, "at first the teacher is the model"
    model, old = tiny("bert"), tiny("bert")
    for net, weights in ((model, run.weights), (old, teacher(run))):
        with torch.no_grad():
            for name, weight in net.named_parameters():
                weight.copy_(weights[name])
    given = batch(key=2)
    clean, held = hidden(model, given), hidden(old, given).detach()
    (task_loss(clean, given) + 1.5 * symmetric_kl(clean, held)).backward()
    run.step(given)
    assert float(run.logs["proximal"]) > 1e-6
    for name, weight in model.named_parameters():
        assert torch.allclose(run.gradients[name], weight.grad, atol=1e-10), name


def test_without_a_proximal_term_there_is_no_teacher(tiny):
    run = Run("smart", tiny("bert"), proximal=0.0).step(batch()).step(batch(key=8))
    assert not run.engine.memory and "proximal" not in run.logs
    assert len(run.deltas) == 2 * 3, "no pass of a teacher"


def test_a_momentum_of_zero_is_the_last_iterate(tiny):
    run = Run("smart", tiny("bert"), momentum=0.0, late_momentum=0.0)
    run.step(batch())
    assert_same(teacher(run), run.weights, 1e-15)


def test_the_teachers_pass_gives_the_weights_back_bit_for_bit(tiny):
    run = Run("smart", tiny("bert"), rate=0.0, momentum=0.5)
    run.step(batch())
    for i, weight in enumerate(run.model.parameters()):
        run.engine.memory[f"teacher.{i}"].copy_(weight.detach() + 0.1)
    before = run.weights
    run.step(batch())
    assert_same(before, run.weights)
    assert float(run.logs["proximal"]) > 0


def test_a_checkpointed_teacher_is_picked_up(tiny):
    first = Run("smart", tiny("bert"), **MOMENTUM).step(batch(key=1))
    resumed = Run("smart", first.model, **MOMENTUM)
    resumed.engine.memory = {name: value.clone() for name, value in first.engine.memory.items()}
    assert isinstance(resumed.engine, Recorder)
    first.view.remove()
    resumed.step(batch(key=2))
    assert float(resumed.logs["proximal"]) > 1e-6
