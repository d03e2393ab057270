"""Is a measured robustness real, or does the attack fail for reasons of its own (gradient masking)?

A defence that hides its gradients looks robust to everyone who follows gradients. Each check is something that must
hold for an attack that works; after Athalye et al., ICML 2018, and Carlini et al., 2019, "On evaluating adversarial
robustness". A failed check means: do not report the accuracy under this attack. Passing proves nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import DataError, SettingError
from ..model.view import ModelView, Site
from ..settings import Size, multiple
from .robust import EmbeddingAttack, Point, attacked, gradient_at, prepared, robust_curve

STEPS = (1, 5, 20)
_VANISHED = 0.05  # share of examples without a usable gradient from which on the attack counts as blind
_DIP = 0.05  # share of the whole rise by which one step may lower the mean harm: ascent at a fixed step size overshoots


@dataclass(frozen=True)
class Check:
    """One question to an attack, and its answer."""

    name: str
    """In a word: gradients, ascent, noise, steps or huge."""
    passed: bool
    """False: the attack cannot be trusted on this model."""
    detail: str
    """What was asked, what was measured and, where it failed, what to do; one sentence for people."""


def sanity_checks(
    model: nn.Module | ModelView,
    batches: Iterable[Batch],
    attack: EmbeddingAttack,
    *,
    site: Site = "word",
    huge: Size = "10x",
) -> list[Check]:
    """Five checks of `attack` on this model and these batches (see `robust_curve`, whose errors it raises too).

    They are made at the middle one of the attack's radii above zero, and at `huge`, a radius at which nothing is left
    of the sentence. At most about (1 + restarts) * (26 + 2 * steps) + steps passes, forward and back, a sentence.
    Raises SettingError when the attack has no radius above zero.
    """
    radii = [radius for radius in attack.radii if multiple(radius)[0] > 0]
    if not radii:
        raise SettingError(
            f"sanity checks need a radius above zero, and the attack has {', '.join(map(str, attack.radii))}: add one, "
            "or leave the checks out (--no-sanity)"
        )
    batches = list(batches)
    with attacked(model, site) as view:
        radius = sorted(radii, key=lambda radius: view.size(radius, attack.norm))[len(radii) // 2]
        attack = replace(attack, radii=(radius,))
        harms, gradients, classes = _ascent(view, batches, attack)
        # separate attacks: carried-over successes would make more steps better by construction
        by_steps = [robust_curve(view, batches, replace(attack, steps=steps), site=site)[0] for steps in STEPS]
        asked = robust_curve(view, batches, attack, site=site)[0]
        limit = robust_curve(view, batches, replace(attack, radii=(huge,)), site=site)[0]
    return [
        _gradients_reach_the_input(gradients),
        _steps_raise_the_harm(harms),
        _noise_is_weaker(asked),
        _more_steps_are_stronger(by_steps),
        _a_huge_radius_breaks_all(limit, classes),
    ]


def _ascent(view: ModelView, batches: list[Batch], attack: EmbeddingAttack) -> tuple[Tensor, Tensor, int]:
    """One ascent from zero that no success stops.

    Returns the harm (steps + 1, N) along it, whether the gradient at zero is finite and not zero (N,), and how many
    classes the model knows.
    """
    radius = view.size(attack.radii[0], attack.norm)
    ball, harms, gradients, classes = attack.ball(radius), [], [], 0
    for batch in batches:
        batch = prepared(batch, attack.seed)
        if not len(batch):
            continue
        delta, along = view.zeros(batch), []
        for step in range(attack.steps + 1):
            gradient, logits = gradient_at(view, batch, delta, attack)
            along.append(attack.harm(logits, batch.targets).cpu())
            classes = logits.shape[-1]
            if step == 0:
                size = gradient.abs().amax(dim=(1, 2))
                gradients.append((size.isfinite() & (size > 0)).cpu())
            ascent = ball.direction(torch.nan_to_num(gradient, 0.0, 0.0, 0.0))
            delta = ball.project(delta + attack.share * radius * ascent)
        harms.append(torch.stack(along))
    if not harms:
        raise DataError("there is nothing to attack: no batch holds a labelled sentence")
    return torch.cat(harms, dim=1), torch.cat(gradients), classes


def _gradients_reach_the_input(usable: Tensor) -> Check:
    share = float(usable.double().mean())
    passed = share > 1 - _VANISHED
    way_out = "" if passed else ": the attack is blind on the others; use loss='margin' and a model in float32"
    detail = f"The gradient that the attack follows is finite and not zero for {share:.1%} of the sentences{way_out}."
    return Check("gradients", passed, detail)


def _steps_raise_the_harm(harms: Tensor) -> Check:
    path = harms.double().mean(dim=1)
    rise, dips = float(path[-1] - path[0]), (path[:-1] - path[1:]).clamp(min=0)
    passed = rise > 0 and float(dips.max()) <= _DIP * rise
    way_out = "" if passed else ": gradients that do not point uphill; use a smaller step_size, then suspect the model"
    detail = (
        f"The mean of what the attack drives up goes from {float(path[0]):.3g} to {float(path[-1]):.3g} in "
        f"{len(path) - 1} steps, and its largest fall in one step is {float(dips.max()):.2g}{way_out}."
    )
    return Check("ascent", passed, detail)


def _noise_is_weaker(point: Point) -> Check:
    passed = point.random_accuracy >= point.low
    way_out = "" if passed else ": following the gradient is worse than guessing, as where gradients are masked"
    detail = (
        f"At radius {point.radius} random noise leaves an accuracy of {point.random_accuracy:.1%} and the attack "
        f"{point.accuracy:.1%}{way_out}."
    )
    return Check("noise", passed, detail)


def _more_steps_are_stronger(points: list[Point]) -> Check:
    passed = all(more.accuracy <= fewer.high for fewer, more in pairwise(points))
    way_out = "" if passed else ": more steps should never be easier to withstand; use a smaller step_size"
    measured = ", ".join(f"{point.accuracy:.1%}" for point in points)
    steps = ", ".join(map(str, STEPS))
    detail = f"Separate attacks of {steps} steps at radius {points[0].radius} leave {measured}{way_out}."
    return Check("steps", passed, detail)


def _a_huge_radius_breaks_all(point: Point, classes: int) -> Check:
    passed = point.accuracy <= 1 / classes
    way_out = "" if passed else ": with nothing left of the sentences it should, so gradients are probably masked"
    detail = (
        f"At the huge radius {point.radius} an accuracy of {point.accuracy:.1%} is left, "
        f"and guessing gives {1 / classes:.1%}{way_out}."
    )
    return Check("huge", passed, detail)
