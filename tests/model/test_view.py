"""The view's one claim: a perturbation is added exactly where it says, and nothing else about the model changes."""

import math

import pytest
import torch
from families import FAMILIES, LANGUAGE_MODELS, NARROW, VOCABULARY, WIDTH, batch, lm_batch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from transformers.pytorch_utils import Conv1D

from sparring.errors import ModelError
from sparring.model.view import ModelView
from sparring.objective import task_loss
from sparring.perturb.draws import uniform

SITES = ("word", "hidden")
each_family = pytest.mark.parametrize("family", [*FAMILIES, *LANGUAGE_MODELS])
each_site = pytest.mark.parametrize("site", SITES)


def data(family, **kwargs):
    return lm_batch(family, **kwargs) if family in LANGUAGE_MODELS else batch(**kwargs)


def stack(model):
    return model.get_encoder() if model.config.is_encoder_decoder else model


def first_layer(model):
    return next(m for m in stack(model).modules() if isinstance(m, nn.ModuleList))[0]


@each_family
@each_site
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_perturbation_of_zero_changes_no_bit_of_the_logits(tiny, family, site, side):
    given, model = data(family, total=9, side=side), tiny(family).eval()
    with torch.no_grad():
        plain = model(**given.inputs).logits
        plain = plain if plain.dim() == 2 else plain[given.scored]
        view = ModelView(model, site=site)
        clean = view.logits(given)
        if family in LANGUAGE_MODELS:  # the head multiplies fewer rows: same numbers, perhaps another order of sums
            assert torch.allclose(clean, plain, atol=1e-13)
        else:
            assert torch.equal(clean, plain)
        assert torch.equal(view.logits(given, view.zeros(given)), clean)
        assert torch.equal(view.probe(given, view.zeros(given)), clean)
    view.check(given)


@each_family
@each_site
def test_a_perturbation_acts_on_its_own_sentence_and_off_padding_only(tiny, family, site):
    given, model = data(family, total=8), tiny(family)
    view = ModelView(model, site=site)
    everywhere = torch.ones_like(view.zeros(given))
    everywhere[0] = 0.0
    with torch.no_grad():
        plain, moved = view.logits(given), view.logits(given, everywhere * torch.randn(view.width).double())
        first = int(given.scored[0].sum())
        assert torch.allclose(moved[:first], plain[:first], atol=1e-12 if family != "gemma3" else 1e-6)
        assert float((moved[first:] - plain[first:]).abs().amax(1).min()) > 1e-3
        pads = everywhere * ~given.real.unsqueeze(-1)
        assert torch.equal(view.logits(given, pads), plain)


@each_family
def test_the_hidden_site_is_what_the_first_layer_reads(tiny, family):
    given, model, seen = data(family), tiny(family), []
    view = ModelView(model, site="hidden")
    delta = uniform(given, view.zeros(given), "anything")

    def look(_, args, kwargs):
        seen.append(args[0] if args else kwargs["hidden_states"])

    first_layer(model).register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        view.logits(given)
        clean = seen[0]
        seen.clear()
        view.logits(given, delta)
    assert torch.allclose(seen[0] - clean, delta, atol=1e-14)


@each_family
def test_the_word_site_is_the_output_of_the_table_that_runs(tiny, family):
    given, model, seen = data(family), tiny(family), []
    calls = stack(model).get_input_embeddings().register_forward_hook(lambda _, __, out: seen.append(out))
    view = ModelView(model)  # its hook runs after ours, so that ours sees the table's own output
    late = stack(model).get_input_embeddings().register_forward_hook(lambda _, __, out: seen.append(out))
    delta = uniform(given, view.zeros(given), "anything")
    with torch.no_grad():
        view.logits(given, delta)
    assert len(seen) == 2, "the table ran more than once, or not at all"
    assert torch.allclose(seen[1] - seen[0], delta, atol=1e-14)
    calls.remove(), late.remove()


@each_family
@each_site
def test_the_width_fits_the_site(tiny, family, site):
    view = ModelView(tiny(family), site=site)
    assert view.width == (NARROW if site == "word" and family in ("albert", "electra") else WIDTH)
    assert (view.hidden_width, view.vocabulary) == (WIDTH, VOCABULARY)
    assert view.zeros(batch()).shape == (3, 6, view.width)


@each_family
@each_site
def test_the_mean_norm_is_that_of_the_tensor_that_is_perturbed(tiny, family, site):
    model, seen = tiny(family).eval(), []
    view = ModelView(model, site=site)
    layer = first_layer(model)
    hooks = [stack(model).get_input_embeddings().register_forward_hook(lambda _, __, out: seen.append(out))]
    hooks.append(
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )
    )
    ids = torch.arange(VOCABULARY).reshape(5, 10)
    with torch.no_grad():
        stack(model)(input_ids=ids, attention_mask=torch.ones_like(ids))
    for hook in hooks:
        hook.remove()
    expected = float(seen[SITES.index(site)].norm(dim=-1).mean())
    assert view.mean_norm() == pytest.approx(expected, rel=1e-5 if site == "word" else 0.1)


def test_a_relative_size_is_a_multiple_of_the_mean_norm(tiny):
    view = ModelView(tiny("bert"))
    unit = float(view.model.get_input_embeddings().weight.detach().norm(dim=-1).mean())
    assert view.size("0.25x") == pytest.approx(0.25 * unit)
    assert view.size("0.25x", "linf") == pytest.approx(0.25 * unit / math.sqrt(WIDTH))
    assert view.size(0.3) == 0.3 and view.size(0.3, "linf") == 0.3 and view.size("0.3") == 0.3
    assert view.size("0x") == 0.0
    with torch.no_grad():
        view.model.get_input_embeddings().weight.mul_(2)
    assert view.size("1x") == pytest.approx(unit), "a radius must not drift with the weights"


@pytest.mark.parametrize(
    ("dtype", "share", "vanishes"),
    [
        (torch.float32, 1e-6, False),
        (torch.bfloat16, 1e-3, True),
        (torch.bfloat16, 1e-2, False),
        (torch.float16, 1e-4, True),
        (torch.float16, 1e-2, False),
    ],
)
def test_a_perturbation_that_rounds_away_is_recognised(tiny, dtype, share, vanishes):
    view = ModelView(tiny("bert", dtype=dtype))
    size = share * view.mean_norm() / math.sqrt(WIDTH)
    assert view.vanishing(size) == vanishes
    assert view.vanishing(size, torch.bfloat16) == (
        vanishes or share < 2**-8
    )  # autocast computes the first layer in it


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_language_models_head_sees_the_scored_rows_only(tiny, name):
    given, model, seen = lm_batch(name), tiny(name), []
    with torch.no_grad():
        expected = model(**given.inputs).logits[given.scored]
        view = ModelView(model)
        head = model.get_output_embeddings()
        head.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
        logits = view.logits(given)
    assert logits.shape == (len(given.targets), VOCABULARY) and seen == [(len(given.targets), WIDTH)]
    assert torch.allclose(logits, expected, atol=1e-13)
    assert model(**given.inputs).logits.shape == (3, 6, VOCABULARY), "a pass that is not the view's is cut"


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "llama-lm"])
@each_site
def test_lora_models_are_perturbed_and_train_their_adapters_only(tiny, name, site):
    task = "CAUSAL_LM" if name.endswith("lm") else "SEQ_CLS"
    model = get_peft_model(tiny(name), LoraConfig(task_type=task, r=2, init_lora_weights=False))
    given = data(name)
    view = ModelView(model, site=site)
    view.check(given)
    delta = uniform(given, view.zeros(given), "anything").requires_grad_()
    logits = view.logits(given, delta)
    assert logits.shape[0] == len(given.targets)
    assert not torch.allclose(logits, view.logits(given))
    task_loss(logits, given).backward()
    assert bool((delta.grad.abs().sum(-1) > 0)[:, 0].all())
    trained = [key for key, weight in model.named_parameters() if weight.grad is not None]
    assert trained and all("lora" in key or "modules_to_save" in key for key in trained)


def gradients(model, view, given, detached):
    delta = uniform(given, view.zeros(given), "anything").requires_grad_()
    (probed,) = torch.autograd.grad(task_loss(view.probe(given, delta), given), delta)
    clean = view.logits(given)
    loss = task_loss(clean, given) + task_loss(view.logits(given, delta, detached=detached), given)
    loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"probe": probed, "delta": delta.grad, **trained}


def hugging_faces(model):
    model.activation_checkpointing_enable({"use_reentrant": False})


def torchs(model):
    """As FSDP's wrapper does, after the view was made: the layer runs again with its hooks."""
    model.config.use_cache = False
    layers = next(m for m in stack(model).modules() if isinstance(m, nn.ModuleList))
    for i, layer in enumerate(layers):
        layers[i] = checkpoint_wrapper(layer)


CASES = [(name, hugging_faces) for name in (*FAMILIES, "llama-lm") if name != "albert"]
CASES += [(name, torchs) for name in ("bert", "gpt2", "llama", "t5", "modernbert")]


@pytest.mark.parametrize(("family", "enable"), CASES)
@each_site
@pytest.mark.parametrize("detached", [False, True])
def test_activation_checkpointing_changes_no_gradient(tiny, family, enable, site, detached):
    given, kept, recomputed = data(family), tiny(family), tiny(family)
    layer, runs = first_layer(recomputed), [0]
    part = next(m for m in layer.modules() if isinstance(m, nn.Linear | Conv1D))

    def count(*_):
        runs[0] += 1

    part.register_forward_pre_hook(count)
    expected = gradients(kept, ModelView(kept, site=site), given, detached)
    view = ModelView(recomputed, site=site)
    enable(recomputed)
    found = gradients(recomputed, view, given, detached)
    assert runs[0] > 3, "checkpointing is off: the layer was not run again"
    found = {name.replace("_checkpoint_wrapped_module.", ""): value for name, value in found.items()}
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.allclose(value, found[name], atol=1e-12, rtol=0), name


@each_site
def test_checkpointing_replays_the_perturbation_of_its_own_pass(tiny, site):
    model, given = tiny("gpt2"), batch()
    view = ModelView(model, site=site)
    torchs(model)
    first, second = (uniform(given, view.zeros(given), name).requires_grad_() for name in ("one", "two"))
    losses = [task_loss(view.logits(given, d), given) for d in (first, second)]
    sum(losses).backward()
    plain = ModelView(tiny("gpt2"), site=site)
    for delta in (first, second):
        (expected,) = torch.autograd.grad(task_loss(plain.logits(given, delta), given), delta)
        assert torch.allclose(delta.grad, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("family", ["bert", "llama", "t5", "bert-mlm"])
@each_site
def test_bf16_autocast_works_and_keeps_perturbations_in_float32(tiny, family, site):
    given, view = data(family), ModelView(tiny(family, dtype=torch.float32), site=site)
    delta = uniform(given, view.zeros(given), "anything").mul_(0.5).requires_grad_()
    exact = view.logits(given, delta)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = view.logits(given, delta)
    task_loss(rough, given).backward()
    assert delta.dtype == delta.grad.dtype == torch.float32 and bool(delta.grad.isfinite().all())
    assert float((rough.float() - exact).abs().max()) < 0.2


def test_a_model_in_bf16_gets_float32_perturbations(tiny):
    view, given = ModelView(tiny("bert", dtype=torch.bfloat16)), batch()
    delta = uniform(given, view.zeros(given), "anything").requires_grad_()
    (gradient,) = torch.autograd.grad(task_loss(view.logits(given, delta), given), delta)
    assert gradient.dtype == torch.float32 and float(gradient.abs().max()) > 0


def test_a_module_that_is_not_from_hugging_face_is_refused():
    with pytest.raises(ModelError, match="Linear is not a Hugging Face model"):
        ModelView(nn.Linear(2, 2))


def test_a_site_that_runs_twice_or_never_is_refused(tiny):
    model = tiny("bert")
    view, given = ModelView(model), batch()
    view.training_forward = lambda **kwargs: max((model(**kwargs) for _ in range(2)), key=id)
    with pytest.raises(ModelError, match="ran 2 times"):
        view.logits(given)
    view = ModelView(model)
    view.training_forward = lambda **kwargs: model(
        inputs_embeds=model.get_input_embeddings().weight[kwargs.pop("input_ids")], **kwargs
    )
    with pytest.raises(ModelError, match="ran 0 times"):
        view.logits(given)


def test_check_reports_a_site_that_changes_the_logits(tiny):
    model, given = tiny("bert", dtype=torch.float32), batch()
    view, calls = ModelView(model), [0]

    def drifting(**kwargs):
        calls[0] += 1
        output = model(**kwargs)
        output.logits = output.logits + calls[0]
        return output

    view.training_forward = drifting
    with pytest.raises(ModelError, match="a perturbation of zero changed the logits by up to 1"):
        view.check(given)


def test_a_perturbation_of_another_shape_is_refused(tiny):
    view, given = ModelView(tiny("bert")), batch()
    with pytest.raises(ModelError, match="sdpa"):
        view.logits(given, torch.zeros(3, 6, WIDTH - 1, dtype=torch.float64))


@each_family
@each_site
def test_remove_takes_every_hook_out(tiny, family, site):
    model = tiny(family)

    def hooks():
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

    before = hooks()
    view = ModelView(model, site=site)
    assert hooks() > before
    view.remove()
    assert hooks() == before


@each_family
def test_a_sentence_vector_is_that_of_a_token_which_has_read_the_sentence(tiny, family):
    if family in LANGUAGE_MODELS:
        return
    short, long = batch(), batch(total=11, side="left")
    view = ModelView(tiny(family).eval())
    with torch.no_grad():
        logits, vectors = view.encode(short)
        assert torch.equal(logits, view.logits(short))
        assert vectors.shape == (3, WIDTH)
        _, padded = view.encode(long)
        assert torch.allclose(vectors, padded, atol=1e-6)
        ids = short.inputs["input_ids"].clone()
        last = short.real.sum(1) - 2
        ids[torch.arange(3), last] = (ids[torch.arange(3), last] - 4) % 40 + 5
        changed = batch()
        changed.inputs["input_ids"] = ids
        assert float((view.encode(changed)[1] - vectors).abs().amax(1).min()) > 1e-4
