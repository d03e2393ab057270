import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sparring.evaluate.metrics import score
from sparring.study.comparisons import against
from sparring.study.figures import Figure, spread_of
from sparring.study.machine import command
from sparring.study.statistics import (
    ROWS,
    Pool,
    bootstrap_interval,
    cohens_h,
    compare,
    holm,
    p_value,
    paired_d,
    paired_interval,
    pool,
    row_values,
    sd,
    t_interval,
)

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "null_studies.py"


@pytest.fixture(scope="module")
def null():
    spec = importlib.util.spec_from_file_location("null_studies", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def shares(rng, share, seeds=3, rows=200):
    return [(rng.random(rows) < share).astype(float) for _ in range(seeds)]


def test_the_t_interval_is_that_of_scipy(rng):
    values = rng.normal(0.8, 0.02, size=5).tolist()
    wanted = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(wanted)
    assert sd(values) == pytest.approx(stats.tstd(values))
    assert t_interval([0.8]) is None and sd([0.8]) is None
    assert t_interval([0.8, 0.8]) == (0.8, 0.8)


def test_with_one_seed_the_bootstrap_is_scipys_over_rows(rng):
    rows = (rng.random(400) < 0.7).astype(float)
    wanted = stats.bootstrap((rows,), np.mean, n_resamples=4000, method="percentile").confidence_interval
    assert bootstrap_interval([rows]) == pytest.approx(wanted, abs=0.006)


def test_with_rows_that_are_alike_the_bootstrap_is_over_seeds_and_not_too_narrow(rng):
    means = rng.normal(0.5, 0.1, size=8)
    low, high = bootstrap_interval([np.full(50, mean) for mean in means])
    # what a bootstrap of S values varies is too little by (S - 1) / S: here it is that of the unbiased variance
    assert (high - low) / 2 == pytest.approx(1.96 * means.std(ddof=1) / math.sqrt(8), rel=0.1)
    assert bootstrap_interval([np.array([mean]) for mean in means]) == pytest.approx((low, high), abs=0.01)


def test_rows_that_seeds_share_count_once_and_rows_of_their_own_for_each_seed(rng):
    row = (rng.random(100) < 0.5).astype(float)
    shared = bootstrap_interval([row, row, row, row])
    own = bootstrap_interval([row, row, row, row], crossed=False)
    assert shared[1] - shared[0] == pytest.approx(2 * 1.96 * 0.05, rel=0.15)
    # four times as many rows, but of four drawn seeds some are the same: sum of squared weights (2 S - 1) / S²
    assert own[1] - own[0] == pytest.approx(2 * 1.96 * 0.05 * math.sqrt(7 / 16), rel=0.15)


def test_the_draws_are_keyed_and_the_order_of_seeds_and_rows_does_not_matter(rng):
    sample = shares(rng, 0.6)
    order = rng.permutation(200)
    assert bootstrap_interval(sample) == bootstrap_interval(sample)
    assert bootstrap_interval([s[order] for s in sample]) == pytest.approx(bootstrap_interval(sample), abs=1e-12)


def test_a_single_value_has_no_interval_and_no_comparison():
    assert bootstrap_interval([np.array([0.8])]) is None
    assert compare([np.array([0.8])], [np.array([0.7])]) is None


def test_one_seed_is_exact_mcnemar_on_its_rows_and_says_so():
    # 30 rows only a got right, 15 only b: the golden value 0.0357
    a = [np.array([1.0] * 30 + [0.0] * 15 + [1.0] * 155)]
    b = [np.array([0.0] * 30 + [1.0] * 15 + [1.0] * 155)]
    found = compare(a, b)
    assert found.p == pytest.approx(0.0357, abs=5e-5) and found.mcnemar == found.p
    assert found.discordant == (30, 15) and "one seed" in found.test
    assert found.difference == pytest.approx(0.075)


def test_seeds_that_never_vary_leave_the_paired_t_test_of_rows(rng):
    a, b = shares(rng, 0.7, 1, 5000)[0], shares(rng, 0.68, 1, 5000)[0]
    wanted = stats.ttest_rel(a, b).pvalue
    found = p_value([a, a, a], [b, b, b], Pool(0.0, 4))
    assert float(found) == pytest.approx(wanted, rel=0.01)


def test_rows_that_never_vary_leave_students_t_test_of_seeds():
    a, b = (np.repeat(np.array(means)[:, None], 50_000, axis=1) for means in ((0.5, 0.6, 0.7), (0.3, 0.4, 0.5)))
    found = p_value(a, b, pool([list(a), list(b)]))
    assert float(found) == pytest.approx(stats.ttest_ind([0.5, 0.6, 0.7], [0.3, 0.4, 0.5]).pvalue, rel=1e-3)


def test_an_arm_that_scatters_more_than_the_others_is_judged_by_its_own_seeds():
    steady, wild = [np.full(2000, m) for m in (0.50, 0.51, 0.52)], [np.full(2000, m) for m in (0.4, 0.6, 0.8)]
    average = pool([steady] * 10 + [wild])
    assert average.degrees == 22 and average.variance == pytest.approx((10 * 0.0001 + 0.04) / 11)
    calm = compare(wild, steady, arms=Pool(0.0001, 22)).p
    assert calm > 0.3 and compare(wild, steady, arms=average).p == pytest.approx(calm, rel=0.1)


def test_a_lucky_arm_does_not_count_as_more_certain_than_arms_are():
    a, b = [np.full(2000, m) for m in (0.6, 0.6, 0.6)], [np.full(2000, m) for m in (0.5, 0.5, 0.5)]
    assert compare(a, b, arms=Pool(0.0, 4)).p < 1e-6
    assert compare(a, b, arms=Pool(0.1**2, 20)).p > 0.2


def test_two_arms_change_sides_and_everything_changes_its_sign(rng):
    a, b = shares(rng, 0.7), shares(rng, 0.6)
    one, other = compare(a, b), compare(b, a)
    assert one.difference == -other.difference and one.effect == -other.effect
    assert one.discordant == other.discordant[::-1] and one.p == other.p
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))


def test_a_known_effect_is_found_where_it_is(null):
    found = null.right(np.random.default_rng(3), 40, seeds=5, rows=400, shares=(0.5,), arms=1, gains=(0.1,))
    compared = [compare(list(x[0, 1].astype(float)), list(x[0, 0].astype(float))) for x in found]
    assert np.mean([one.difference for one in compared]) == pytest.approx(0.1, abs=0.015)
    assert np.mean([one.p < 0.05 for one in compared]) > 0.7
    assert np.mean([one.interval[0] <= 0.1 <= one.interval[1] for one in compared]) >= 0.95


def test_arms_that_are_equal_row_by_row_have_p_1_and_no_effect(rng):
    a = shares(rng, 0.5)
    found = compare(a, a)
    assert (found.p, found.difference, found.discordant, found.mcnemar) == (1.0, 0.0, (0, 0), 1.0)


def test_seeds_with_rows_of_their_own_are_compared_too(rng):
    a = [(rng.random(n) < 0.9).astype(float) for n in (40, 55, 62)]
    b = [(rng.random(n) < 0.5).astype(float) for n in (40, 55, 62)]
    found = compare(a, b, crossed=False)
    assert found.p < 0.01 and found.interval[0] > 0.2
    assert sum(found.discordant) == sum(int((x != y).sum()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0.0), (3, 0.02), (5, 0.0), (5, 0.02)])
def test_studies_without_an_effect_seldom_claim_one(null, seeds, seed_sd):
    rng = np.random.default_rng(seeds)
    claimed = []
    for _ in range(3):
        p = null.p_values(null.right(rng, 12, seeds=seeds, seed_sd=seed_sd))
        claimed += null.holm_rejects(p.reshape(len(p), -1)).any(axis=1).tolist()
    assert np.mean(claimed) <= 0.05


def test_many_comparisons_at_once_are_those_of_one_by_one(null):
    correct = null.right(np.random.default_rng(0), 1, seeds=3, arms=2, shares=(0.5,), seed_sd=0.02)
    arms = [list(arm.astype(float)) for arm in correct[0, 0]]
    together = null.p_values(correct)[0, 0]
    assert together == pytest.approx([compare(arm, arms[0], arms=pool(arms)).p for arm in arms[1:]])


def test_holm_as_worked_by_hand_and_in_the_benchmark(null):
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []
    assert null.holm_rejects(np.array([p])).tolist() == [[True, False, False, True]]


def test_effect_sizes_by_hand():
    assert cohens_h(0.5, 0.3) == pytest.approx(0.41152, abs=1e-5)
    assert cohens_h(1.0, 0.0) == pytest.approx(math.pi)
    assert paired_d(np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0) and paired_d(np.array([1.0, 1.0])) == 0.0


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_a_correlation_is_the_mean_of_its_row_values_and_each_row_is_left_out_once(rng, metric):
    x = rng.normal(size=30)
    y = 0.6 * x + rng.normal(size=30)
    whole = score("pearson", x, y)[metric]
    values = row_values(metric, x, y)
    assert values.mean() == pytest.approx(whole)
    ranks = (lambda v: v) if metric == "pearson" else stats.rankdata
    u, v = ranks(x), ranks(y)
    naive = [30 * whole - 29 * stats.pearsonr(np.delete(u, i), np.delete(v, i))[0] for i in range(30)]
    assert np.diff(values) == pytest.approx(np.diff(naive))


def test_a_correlation_of_constants_is_nought():
    assert row_values("pearson", [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).tolist() == [0.0, 0.0, 0.0]


def test_one_seed_among_arms_of_several_counts_what_these_vary():
    a, b = [np.array([1.0] * 30 + [0.0] * 15 + [1.0] * 155)], [np.array([0.0] * 30 + [1.0] * 15 + [1.0] * 155)]
    found = compare(a, b, arms=Pool(0.05**2, 20))
    d = a[0] - b[0]
    rows = (d.var() * 200 + 1) / (199 * 200)
    wanted = 2 * stats.t.sf(0.075 / math.sqrt(0.005 + rows), (0.005 + rows) ** 2 / (0.005**2 / 20 + rows**2 / 199))
    assert found.p == pytest.approx(wanted) and found.p > 0.2 and "one seed" in found.test
    assert compare(a, b, arms=Pool(0.0, 20)).p < 0.05


def test_values_that_are_no_rows_right_or_wrong_have_no_discordant_pairs(rng):
    found = compare([rng.normal(size=30)] * 2, [rng.normal(size=30)] * 2, share=False)
    assert found.discordant is None and found.mcnemar is None
    assert compare([np.array([0.0])] * 2, [np.array([1.0])] * 2).discordant is None


def test_single_values_of_seeds_that_scatter_alike_have_students_interval_of_two_samples():
    a, b = ([np.array([x]) for x in values] for values in ((0.5, 0.6, 0.7), (0.3, 0.4, 0.5)))
    wanted = stats.ttest_ind([0.5, 0.6, 0.7], [0.3, 0.4, 0.5]).confidence_interval()
    assert compare(a, b).interval == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize("arms", [None, Pool(0.0, 9), Pool(0.03**2, 9), Pool(0.1**2, 20)])
@pytest.mark.parametrize("kind", ["rows", "rows of its own", "values of seeds", "one seed", "other values"])
def test_an_interval_leaves_nought_out_where_its_p_is_below_005(rng, kind, arms):
    decided = set()
    for gain in np.linspace(0.0, 0.5, 40):
        shape = {"values of seeds": (4, 1), "one seed": (1, 90)}.get(kind, (4, 90))
        draw = rng.normal if kind == "other values" else rng.random
        a, b = draw(size=shape), draw(size=shape)
        if kind in ("rows", "rows of its own", "one seed"):
            a, b = (a < 0.4 + gain).astype(float), (b < 0.4).astype(float)
        elif kind == "values of seeds":
            a, b = 0.1 * a + gain, 0.1 * b
        else:
            a += gain
        found = compare(list(a), list(b), arms=arms, crossed=kind != "rows of its own", share=kind != "other values")
        low, high = found.interval
        if found.test == ROWS:  # an exact test and an interval that is not are close to each other
            assert (low > 0 or high < 0) == (found.p < 0.05) or 0.02 < found.p < 0.12
        else:
            assert (low > 0 or high < 0) == (found.p < 0.05), (kind, gain, found)
        assert low <= found.difference <= high
        decided.add(found.p < 0.05)
    assert decided == {False, True} or (arms is not None and arms.degrees == 20)


def test_two_arms_that_never_differ_have_the_interval_of_agresti_and_min_as_worked_by_hand():
    # none of 98 rows differs: 0 of 100 with half a row in each cell, sqrt(1) / 100
    assert paired_interval(0, 0, 98) == pytest.approx((-0.019600, 0.019600), abs=1e-6)
    # 12 and 4 of 98: 8 / 100, sqrt(17 - 100 * 0.08 ** 2) / 100 = 0.040447
    assert paired_interval(12, 4, 98) == pytest.approx((0.000724, 0.159276), abs=1e-6)
    assert paired_interval(4, 12, 98) == pytest.approx((-0.159276, -0.000724), abs=1e-6)
    nought, one = [np.zeros(98)] * 3, [np.ones(98)] * 3
    assert compare(nought[:1], one[:1]).interval == paired_interval(0, 98, 98)
    # of three seeds: one row more that differs of 98, and Student's t of 97 degrees; seeds share rows, which count once
    assert compare(nought, nought).interval == pytest.approx((-0.020356, 0.020356), abs=1e-6)
    assert compare(nought, nought, crossed=False).interval[1] < 0.0203
    assert compare(one, nought).interval == pytest.approx((1 - 0.020356, 1 + 0.020356), abs=1e-6)


def test_intervals_of_shares_stay_in_their_bounds_and_have_a_width():
    steep = {seed: Figure(np.array([x]), "d", ()) for seed, x in enumerate((0.99, 0.6, 0.9))}
    assert spread_of(steep).t_interval[1] == 1.0 and spread_of(steep, "mcc").t_interval[1] == 1.0
    low = {seed: Figure(np.array([x]), "d", ()) for seed, x in enumerate((0.01, 0.3))}
    assert spread_of(low).t_interval[0] == 0.0 and spread_of(low, "mcc").t_interval[0] == -1.0
    assert against(steep, low, None).paired.interval[1] <= 1.0
    none = {seed: Figure(np.zeros(100), "d", ()) for seed in range(3)}
    assert spread_of(none).bootstrap_interval == pytest.approx((0.0, 0.03699), abs=1e-4)


def test_the_command_is_as_called_without_folders_and_addresses(monkeypatch):
    call = ["/usr/bin/sparring", "study", "run", "/home/someone/my study.yaml", "--ray", "ray://host:1", "--workers=2"]
    monkeypatch.setattr("sys.argv", call)
    assert command() == "sparring study run 'my study.yaml' --ray ADDRESS --workers=2"
    monkeypatch.setattr("sys.argv", ["pytest"])
    assert command() is None
