"""The head that sees the scored rows alone gives the loss and the gradients of the head that sees all rows."""

import pytest
import torch
from families import lm_batch
from torch import nn

from sparring.model.view import ModelView
from sparring.objective import symmetric_kl, task_loss
from sparring.perturb.draws import uniform


def untied(model):
    """An output layer of its own, other weights than the word table's."""
    old = model.get_output_embeddings()
    new = nn.Linear(old.in_features, old.out_features, bias=old.bias is not None, dtype=old.weight.dtype)
    with torch.no_grad():
        new.weight.copy_(old.weight.flip(0))
    model.set_output_embeddings(new)
    model.config.tie_word_embeddings = False
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    return model


def full(view, given, delta=None):
    """The same logits by way of the whole (B, L, V) tensor."""
    head, view._head = view._head, None
    try:
        return view.logits(given, delta)
    finally:
        view._head = head


def trained(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["bert-mlm", "roberta-mlm", "gpt2-lm"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_loss_and_gradients_are_those_of_full_logits(tiny, name, tied, dtype):
    given, found = lm_batch(name), []
    for logits in (ModelView.logits, full):
        model = tiny(name, dtype=dtype)
        if not tied:
            torch.manual_seed(0)  # of the new bias
            model = untied(model)
        view = ModelView(model)
        delta = uniform(given, view.zeros(given), "anything").mul_(0.1).requires_grad_()
        clean, moved = logits(view, given), logits(view, given, delta)
        assert clean.shape == (len(given.targets), 50)
        loss = task_loss(clean, given) + symmetric_kl(moved, clean)
        loss.backward()
        found.append({"loss": loss.detach(), "delta": delta.grad} | trained(model))
    one, other = found
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.allclose(value, other[key], atol=1e-6, rtol=1e-6), key
    heads = {"cls.predictions.decoder.weight", "lm_head.decoder.weight", "lm_head.weight"}
    assert bool(heads & one.keys()) != tied, "a tied output layer has no name of its own"


@pytest.mark.parametrize("name", ["bert-mlm", "roberta-mlm", "gpt2-lm"])
def test_the_whole_logits_are_never_made(tiny, name):
    model, given, shapes = tiny(name), lm_batch(name), []
    view = ModelView(model)
    for module in model.modules():
        module.register_forward_hook(lambda _, __, out: shapes.append(getattr(out, "shape", None)))
    view.logits(given)
    assert (len(given.targets), 50) in shapes
    assert not any(shape is not None and len(shape) == 3 and shape[-1] == 50 for shape in shapes)
