"""Tiny models with adapters that were never trained but say something: the same random ones for the same seed."""

import copy
from functools import cache

import families
import torch

from sparring.adapters.adapter import adapter_of, attach
from sparring.adapters.gates import Calibration, Gate
from sparring.adapters.mixture import AdapterMixture
from sparring.adapters.shape import AdapterShape

KINDS = ("lora", "houlsby", "pfeiffer")
NAMES = ("clean", "textfooler", "deepwordbug")


def shape_of(kind, **more):
    return AdapterShape(kind=kind, **({"rank": 2, "alpha": 6.0, "reduction": 4} | more))


@cache
def _base(family, labels, dtype):
    return families.tiny(family, labels=labels, dtype=dtype).eval()


def base_model(family="bert", labels=3, dtype=torch.float64):
    return copy.deepcopy(_base(family, labels, dtype))


@cache
def _adapter(family, labels, dtype, shape, number, head):
    return trained(_base(family, labels, dtype), shape, number, head)[1]


def trained(base, shape, number, head="trained"):
    """The base with an adapter that noise has taken somewhere else for each number, and the adapter."""
    model = attach(copy.deepcopy(base), shape, seed=0, head=head)
    source = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.3 * torch.randn(weight.shape, generator=source))
    attack = None if number == 0 else NAMES[number % 3]
    return model.eval(), adapter_of(model, shape, attack=attack)


def adapters_of(base, kind, count=3, head="trained", **more):
    return {NAMES[i]: trained(base, shape_of(kind, **more), i, head)[1] for i in range(count)}


def mixture_of(kind="lora", *, family="bert", count=3, head="mixed", dtype=torch.float64, labels=3, **settings):
    """A mixture whose heads differ ("mixed") or that has the base's head ("shared")."""
    policy = "trained" if head == "mixed" else "frozen"
    adapters = {NAMES[i]: _adapter(family, labels, dtype, shape_of(kind), i, policy) for i in range(count)}
    settings = {"gate": Gate(name="entropy_ratio")} | settings
    return AdapterMixture(base_model(family, labels, dtype), adapters, head=head, **settings)


def only(mixture, name, base):
    """What a mixture of one of the adapters says."""
    one = AdapterMixture(copy.deepcopy(base), {name: mixture.adapter(name)}, head=mixture.head, space=mixture.space)
    return one.mixed(torch.ones(3, 1, dtype=mixture.dtype), **asked()).logits


def asked(lengths=families.LENGTHS, **more):
    """Inputs without labels."""
    return {name: x for name, x in families.inputs(lengths, **more).items() if name != "labels"}


def calibration(low=0.1, high=1.0, count=3):
    return Calibration((low,) * count, (high,) * count, rows=10)
