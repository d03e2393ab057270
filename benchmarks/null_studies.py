"""How often does a study in which nothing differs claim a difference, and what does it find where something does?

    python benchmarks/null_studies.py [--studies 1000]           writes benchmarks/results/null_studies.json

Made-up studies of ten arms and a baseline, four figures, 200 test rows. Whether a model is right about a row depends on
how hard the row is (for all arms, and partly for all figures), on the arm and the row, on the seed and the row, and on
how well the seed went, which moves an arm's share by a standard deviation of 0, 2 or 5 points ("unequal": one arm, or
the baseline, by 8 and the others by 2). `family_wise_error` is the share of studies that claim anything after Holm's
correction over 40 comparisons; `power` the share of an arm's true +10 points that is claimed, when it alone is better.
`error_of_one_test` is the share of single comparisons without an effect whose 95 % interval leaves nought out.
`coverage` is that of the bootstrap intervals that figures of one arm are shown with, here of the difference of two.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from sparring.study.statistics import Pool, bootstrap_interval, p_value

RESULTS = Path(__file__).parent / "results" / "null_studies.json"
SHARES = (0.85, 0.4, 0.3, 0.5)
ROW, ARM_ROW, SEED_ROW = 1.0, 0.4, 0.7
"""Standard deviations of what a row's difficulty is made of."""


def right(
    rng: np.random.Generator,
    studies: int,
    *,
    seeds: int,
    arms: int = 10,
    rows: int = 200,
    shares: tuple[float, ...] = SHARES,
    seed_sd: float | tuple[float, ...] = 0.0,
    gains: tuple[float, ...] = (),
) -> np.ndarray:
    """(studies, figures, 1 + arms, seeds, rows) bool: who is right about what; the first arm is the baseline.

    seed_sd: of all arms, or of each. gains: by how much the share of the arms (behind the baseline) is really higher.
    """
    figures = len(shares)
    noise = lambda *shape: rng.standard_normal(shape, dtype=np.float32)  # noqa: E731
    hard = 0.6 * noise(studies, 1, 1, 1, rows) + 0.8 * noise(studies, figures, 1, 1, rows)
    score = ROW * hard + ARM_ROW * noise(studies, figures, arms + 1, 1, rows)
    score = score + SEED_ROW * noise(studies, figures, arms + 1, seeds, rows)
    went = np.sqrt(0.5) * noise(studies, 1, arms + 1, seeds, 1) + np.sqrt(0.5) * noise(
        studies, figures, arms + 1, seeds, 1
    )
    spread = np.broadcast_to(np.asarray(seed_sd, dtype=np.float32), (arms + 1,))
    gain = np.zeros(arms + 1)
    gain[1 : len(gains) + 1] = gains
    base = np.asarray(shares)[:, None, None, None]
    share = np.clip(base + gain[:, None, None] + spread[:, None, None] * went, 0.001, 0.999)
    return score < norm.ppf(share) * np.sqrt(ROW**2 + ARM_ROW**2 + SEED_ROW**2)


def p_values(correct: np.ndarray) -> np.ndarray:
    """(studies, figures, 1 + arms, seeds, rows) -> (studies, figures, arms): each arm against the baseline."""
    values = correct.astype(np.float64)
    seeds, arms = values.shape[3], values.shape[2]
    variance = values.mean(axis=-1).var(axis=-1, ddof=1).mean(axis=-1)  # what `pool` says, for all studies at once
    return p_value(values[:, :, 1:], values[:, :, :1], Pool(variance[:, :, None], arms * (seeds - 1)))


def holm_rejects(p: np.ndarray, level: float = 0.05) -> np.ndarray:
    """(studies, tests) -> the same, bool: what each study claims after Holm's correction."""
    order = np.argsort(p, axis=1)
    passed = np.take_along_axis(p, order, axis=1) * np.arange(p.shape[1], 0, -1) < level
    claimed = np.empty_like(passed)
    np.put_along_axis(claimed, order, np.logical_and.accumulate(passed, axis=1), axis=1)
    return claimed


def scenario(
    studies: int, seeds: int, seed_sd: float | tuple[float, ...], name: str, block: int = 25
) -> dict[str, Any]:
    """Error, power and coverage of one kind of study."""
    rng = np.random.default_rng(root_of(name, seeds))
    claims, single, found, covered = [], [], [], []
    for start in range(0, studies, block):
        correct = right(rng, min(block, studies - start), seeds=seeds, seed_sd=seed_sd)
        p = p_values(correct)
        claims.append(holm_rejects(p.reshape(len(p), -1)).any(axis=1))
        single.append(p.ravel() < 0.05)
        for one in correct[0, :, 1].astype(float) - correct[0, :, 0]:
            low, high = bootstrap_interval(list(one)) or (0.0, 0.0)
            covered.append(low <= 0 <= high)
        better = right(rng, 5, seeds=seeds, seed_sd=seed_sd, gains=(0.1,))
        p = p_values(better)
        found.append(holm_rejects(p.reshape(5, -1)).reshape(p.shape)[:, :, 0].ravel())
    return {
        "seeds": seeds,
        "seed_sd": name,
        "studies": studies,
        "family_wise_error": round(float(np.concatenate(claims).mean()), 4),
        "error_of_one_test": round(float(np.concatenate(single).mean()), 4),
        "power_of_10_points": round(float(np.concatenate(found).mean()), 3),
        "coverage": round(float(np.mean(covered)), 3),
        "intervals": len(covered),
    }


def root_of(name: str, seeds: int) -> int:
    """The root of a scenario's draws."""
    return int.from_bytes(f"{name} {seeds}".encode(), "little") % (1 << 63)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[2, 3, 5])
    options = parser.parse_args()
    unequal, baseline = (0.02,) * 10 + (0.08,), (0.08,) + (0.02,) * 10
    kinds = {"0": 0.0, "0.02": 0.02, "0.05": 0.05, "unequal: one arm": unequal, "unequal: baseline": baseline}
    known = json.loads(RESULTS.read_text())["scenarios"] if RESULTS.exists() else []
    rows = {(row["seeds"], row["seed_sd"]): row for row in known}
    for seeds in options.seeds:
        for name, seed_sd in kinds.items():
            start = time.perf_counter()
            rows[seeds, name] = row = scenario(options.studies, seeds, seed_sd, name)
            print(json.dumps(row), f"{time.perf_counter() - start:.0f} s", flush=True)
    about = {
        "arms": 10,
        "figures": len(SHARES),
        "rows": 200,
        "shares": SHARES,
        "correction": "Holm over 40 comparisons",
    }
    RESULTS.write_text(json.dumps({"about": about, "scenarios": list(rows.values())}, indent=1) + "\n")


if __name__ == "__main__":
    main()
