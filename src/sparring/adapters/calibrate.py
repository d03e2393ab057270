"""The range of each adapter's entropy on held-out rows: what the gate minmax_ratio is fixed by."""

from collections.abc import Callable, Iterable

import torch

from ..data.batch import Batch
from ..errors import ModelError
from ..model.view import evaluating
from .gates import Calibration, entropy
from .mixture import AdapterMixture


def calibrate(
    mixture: AdapterMixture, batches: Iterable[Batch], *, progress: Callable[[int], None] | None = None
) -> Calibration:
    """Smallest and largest entropy of each adapter; set `mixture.calibration` to it.

    batches: held-out rows, as the mixture will meet them: clean ones, and those of the known attacks. Rows of an attack
    that is to count as unknown must not be among them. progress: called with the number of rows done.
    Raises DataError for fewer than two rows, or when an adapter is equally sure of all of them.
    """
    found: list[torch.Tensor] = []
    with torch.no_grad(), evaluating(mixture):
        for batch in batches:
            found.append(entropy(mixture.adapter_logits(**batch.inputs)).cpu())
            if progress is not None:
                progress(sum(len(part) for part in found))
    entropies = torch.cat(found) if found else torch.zeros(0, len(mixture.names))
    if not bool(entropies.isfinite().all()):
        raise ModelError("an adapter gave an answer that is not a number to the calibration set; its weights diverged")
    if len(entropies) < 2:
        return Calibration((), (), len(entropies))  # says so
    low, high = entropies.min(0).values, entropies.max(0).values
    return Calibration(tuple(low.tolist()), tuple(high.tolist()), len(entropies))
