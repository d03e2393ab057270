"""Faults planted one at a time in what must not be wrong, to see that the tests notice: `python tests/mutations.py`.

Each is applied to a copy of the library, and the test that is said to catch it runs against the copy. It is caught if
that test fails there; before that all of them must pass on an untouched copy. Exit code 1 if a fault survives, or if
the text that it replaces no longer stands exactly once in its file. `--only TEXT ...` takes those whose row holds
one of the texts.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sparring"
FAILED = 1  # pytest's exit code for tests that ran and failed; anything above means that they did not run
HEAVY = (
    *("torch", "scipy.optimize", "scipy.special", "scipy.stats", "sklearn.metrics", "transformers.pipelines.base"),
    *("transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2"),
)
"""What takes seconds to import and is none of ours: imported once, before the forks."""


class Mutation(NamedTuple):
    """One fault."""

    breaks: str
    file: str
    """Below src/sparring."""
    old: str
    new: str
    test: str
    """File below tests and name, as pytest takes it."""


MUTATIONS = (
    # losses
    Mutation(
        "a flipped sign in KL",
        "objective.py",
        "p_log.exp() * (p_log - q_log)",
        "p_log.exp() * (q_log - p_log)",
        "test_objective.py::test_kl_divergences_have_their_textbook_values",
    ),
    Mutation(
        "an un-detached target of the symmetric KL",
        "objective.py",
        "kl(a.detach(), b, reduction) + kl(b.detach(), a, reduction)",
        "kl(a, b, reduction) + kl(b.detach(), a, reduction)",
        "test_objective.py::test_with_targets_detached_the_gradient_is_that_of_predictions_alone",
    ),
    Mutation(
        "a sum where a mean over rows belongs",
        "objective.py",
        'rows.mean() if reduction == "mean" else rows.sum()',
        "rows.sum()",
        "test_objective.py::test_divergences_ignore_the_offset_of_logits_and_average_over_rows",
    ),
    Mutation(
        "a sentence contrasted with itself",
        "objective.py",
        '    similarity = similarity.scatter(1, itself.unsqueeze(1), float("-inf"))\n',
        "",
        "test_objective.py::test_nt_xent_has_its_golden_values",
    ),
    # perturbations
    Mutation(
        "a dropped projection",
        "perturb/inner.py",
        "ball.project(delta + step_size * ball.direction(gradient_of(harm, delta)))",
        "delta + step_size * ball.direction(gradient_of(harm, delta))",
        "methods/test_gradient_methods.py::test_pgd_takes_normalised_steps_inside_the_ball",
    ),
    Mutation(
        "descent in place of ascent",
        "perturb/inner.py",
        "delta + step_size * ball.direction",
        "delta - step_size * ball.direction",
        "methods/test_gradient_methods.py::test_pgd_takes_normalised_steps_inside_the_ball",
    ),
    Mutation(
        "one ascent step too few",
        "perturb/inner.py",
        "range(steps)",
        "range(steps - 1)",
        "methods/test_gradient_methods.py::test_pgd_takes_normalised_steps_inside_the_ball",
    ),
    Mutation(
        "a norm over tokens where one over the sentence belongs",
        "perturb/ball.py",
        '"sentence": (-2, -1)',
        '"sentence": (-1,)',
        "perturb/test_ball.py::test_a_direction_has_unit_size_and_points_uphill",
    ),
    Mutation(
        "noise measured by the padded length",
        "perturb/draws.py",
        "batch.perturbable.sum(1, keepdim=True)",
        "batch.perturbable.logical_or(~batch.perturbable).sum(1, keepdim=True)",
        "perturb/test_draws.py::test_ball_noise_is_measured_by_the_sentences_own_length",
    ),
    Mutation(
        "a draw keyed by the place in the batch",
        "perturb/draws.py",
        "batch.rows * _ODD",
        "torch.arange(len(batch.rows), device=batch.rows.device) * _ODD",
        "perturb/test_draws.py::test_a_draw_depends_on_the_number_of_the_row_alone_not_on_its_micro_batch",
    ),
    Mutation(
        "noise on padding",
        "perturb/draws.py",
        "values.masked_fill_(~batch.perturbable.unsqueeze(-1), 0.0)",
        "values",
        "perturb/test_draws.py::test_only_perturbable_tokens_get_noise",
    ),
    Mutation(
        "a norm over the row where one over each packed document belongs",
        "perturb/ball.py",
        "torch.where(same_document(parts), x.square()",
        "torch.where(same_document(parts) | True, x.square()",
        "train/test_pretrain.py::test_a_norm_is_one_of_a_document_and_not_of_the_row_that_it_is_packed_in",
    ),
    # training methods
    Mutation(
        "micro-batches that weigh the same whatever their size",
        "methods/base.py",
        "len(batch.targets) / max(total, 1)",
        "1 / len(micro_batches)",
        "methods/test_contract.py::test_two_micro_batches_of_tokens_weigh_as_many_as_their_targets",
    ),
    Mutation(
        "FreeLB's gradients added up, not averaged",
        "methods/freelb.py",
        "weight / self.steps * loss",
        "weight * loss",
        "methods/test_gradient_methods.py::test_freelb_trains_on_the_mean_gradient_of_all_its_steps",
    ),
    Mutation(
        "FGM steps down the loss",
        "methods/fgm.py",
        "radius * ball.direction(gradient)",
        "-radius * ball.direction(gradient)",
        "methods/test_gradient_methods.py::test_fgm_steps_up_the_gradient_by_the_radius_in_every_sentence",
    ),
    Mutation(
        "VAT's clean side trained too: a missing stop-gradient",
        "methods/vat.py",
        "kl(clean.detach(), adversarial)",
        "kl(clean, adversarial)",
        "methods/test_gradient_methods.py::test_vats_power_iteration_is_the_one_by_hand",
    ),
    Mutation(
        "R3F's clean side held constant: a stop-gradient too many",
        "methods/r3f.py",
        "symmetric_kl(clean, noisy)",
        "symmetric_kl(clean.detach(), noisy)",
        "methods/test_random_methods.py::test_r3fs_gradient_flows_through_both_passes",
    ),
    Mutation(
        "ALUM steps by the sign of its gradient",
        "methods/alum.py",
        'step_size * unit_linf(g, "sentence", batch.segments)',
        "step_size * g.sign()",
        "methods/test_smart.py::test_the_papers_perturbation_is_the_one_by_hand",
    ),
    Mutation(
        "SMART's teacher keeps what it should give up",
        "methods/smart.py",
        "lerp_(w.detach(), 1 - keep)",
        "lerp_(w.detach(), keep)",
        "methods/test_smart.py::test_the_teacher_is_a_moving_average_that_slows_down",
    ),
    Mutation(
        "CAT's sign exchanged for the length of a row",
        "methods/cat.py",
        "return radius * gradient.sign()",
        'return radius * unit_l2(gradient, "token")',
        "methods/test_cat.py::test_the_matrix_perturbation_has_its_golden_values",
    ),
    Mutation(
        "CAT sees the last occurrence of a word only",
        "methods/cat.py",
        "rows.index_add_(0, place.flatten(), gradient.flatten(0, 1))",
        "rows.index_copy_(0, place.flatten(), gradient.flatten(0, 1))",
        "methods/test_cat.py::test_each_token_moves_by_the_row_of_its_word_type",
    ),
    Mutation(
        "MAT's copy of the weights is an alias, as in the released code",
        "methods/mat.py",
        "before = copies(weights)\n        mean",
        "before = [w.detach() for w in weights]\n        mean",
        "methods/test_mat.py::test_the_weights_move_as_far_as_the_averages_say",
    ),
    Mutation(
        "MAT's noise leaves the ball",
        "methods/mat.py",
        'if self.variant == "paper":\n                    delta',
        "if False:\n                    delta",
        "methods/test_mat.py::test_the_papers_noise_stays_in_the_ball_and_the_released_one_leaves_it",
    ),
    # attacks: what an attacker may ask and do
    Mutation(
        "a budget of one query too many",
        "attack/game.py",
        "else self.budget - self.queries",
        "else self.budget + 1 - self.queries",
        "attack/test_game.py::test_a_budget_cuts_questions_off_and_then_ends_the_search",
    ),
    Mutation(
        "the confirmation of a success counted as a query",
        "attack/game.py",
        "        self._corrected[text.fields] = found\n",
        "        self._corrected[text.fields] = found\n        self.queries += 1\n",
        "attack/test_game.py::test_verification_asks_anew_and_is_no_query",
    ),
    Mutation(
        "a text that was asked before is free",
        "attack/game.py",
        "self.queries += len(items)",
        "self.queries += len(set(items) - self._asked)",
        "attack/test_game.py::test_queries_count_texts_asked_about_and_repeats_those_asked_before",
    ),
    Mutation(
        "every row of an attack draws the same",
        "attack/game.py",
        'make_key("text attack", *self._key)',
        'make_key("text attack", self._key[0])',
        "attack/test_game.py::test_random_draws_depend_on_seed_and_row_alone",
    ),
    Mutation(
        "logits multiplied by the attacker's temperature",
        "attack/game.py",
        "log_softmax(log_probabilities / self.temperature",
        "log_softmax(log_probabilities * self.temperature",
        "attack/test_search.py::test_an_attacker_at_a_temperature_sees_through_saturation",
    ),
    Mutation(
        "a calibration with 1 / T",
        "attack/calibrate.py",
        "shifted / math.exp(log_temperature)",
        "shifted * math.exp(log_temperature)",
        "attack/test_calibrate.py::test_the_temperature_of_an_even_margin_is_known_in_closed_form",
    ),
    Mutation(
        "a success that is not confirmed in float32",
        "attack/run.py",
        "        if confirmed:\n",
        "        if confirmed or answer.broken[0]:\n",
        "attack/test_game.py::test_a_refuted_success_begins_the_search_anew_and_the_counts_are_those_of_the_last_play",
    ),
    Mutation(
        "the least important word first",
        "attack/search.py",
        'order = [words[i] for i in np.argsort(-scores, kind="stable")]',
        'order = [words[i] for i in np.argsort(scores, kind="stable")]',
        "attack/test_search.py::test_the_minimal_flip_is_one_word",
    ),
    Mutation(
        "PWWS puts words together without asking the constraints",
        "attack/search.py",
        "kept = yield from allowed(constraints, game.original, current, [step])",
        "kept = yield from allowed((), game.original, current, [step])",
        "attack/test_search.py::test_the_paper_version_of_pwws_keeps_to_the_constraints",
    ),
    Mutation(
        "a constraint that is never checked",
        "attack/constrain.py",
        "    for constraint in constraints:\n        if not left:",
        "    for constraint in constraints[1:]:\n        if not left:",
        "attack/test_search.py::test_constraints_tell_good_from_bad",
    ),
    Mutation(
        "one word fewer than the share allows",
        "attack/constrain.py",
        "math.ceil(round(self.share * words, 9))",
        "math.floor(round(self.share * words, 9))",
        "attack/test_search.py::test_allowed_numbers_of_words",
    ),
    Mutation(
        "an audit that reports what holds",
        "attack/constrain.py",
        "        if not good:\n",
        "        if good:\n",
        "attack/test_lexical.py::test_the_audit_looks_at_every_changed_word",
    ),
    Mutation(
        "the worse breed more, as in TextAttack",
        "attack/population.py",
        '(temperature if variant == "paper" else -temperature)',
        '(-temperature if variant == "paper" else temperature)',
        "attack/test_population.py::test_the_better_member_breeds_more",
    ),
    Mutation(
        "HotFlip takes the flips that lower the loss",
        "attack/transform/gradient.py",
        "scores = gradients @ table.embedding.T - now[:, None]",
        "scores = now[:, None] - gradients @ table.embedding.T",
        "attack/test_gradient.py::test_the_score_of_a_swap_is_the_step_along_the_gradient",
    ),
    Mutation(
        "a success rate that counts what was wrong before",
        "attack/outcome.py",
        "success_rate=_share(len(broken), len(right))",
        "success_rate=_share(len(broken), len(outcomes))",
        "attack/test_run.py::test_the_summary_leaves_out_what_was_wrong_before",
    ),
)


def problem(mutation: Mutation) -> str:
    """Why a fault cannot be planted; empty if it can."""
    found = (SOURCE / mutation.file).read_text("utf-8").count(mutation.old)
    if found != 1:
        return f"src/sparring/{mutation.file} holds the text to be replaced {found} times"
    return "" if mutation.old != mutation.new else "nothing is replaced"


def run(tests: list[str], source: Path) -> tuple[int, str]:
    """Exit code and output of the tests against a copy of the library, in a fork of this process."""
    with tempfile.TemporaryFile() as shown:
        child = os.fork()
        if not child:
            os.dup2(shown.fileno(), 1)
            os.dup2(shown.fileno(), 2)
            os._exit(_tests(tests, source))
        _, status = os.waitpid(child, 0)
        shown.seek(0)
        return os.waitstatus_to_exitcode(status), shown.read().decode("utf-8", "replace")


def _tests(tests: list[str], source: Path) -> int:
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(source))
    found = find_spec("sparring")
    if found is None or not Path(found.origin or "").is_relative_to(source):
        print(f"the tests would run against {found and found.origin}, not against the copy")
        return 100
    code = pytest.main(["-x", "-p", "no:cacheprovider", *tests])
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code)


def planted(mutation: Mutation, source: Path) -> str:
    """Plant a fault in the copy, run its test, and take the fault out again: caught, survived, or what went wrong."""
    if wrong := problem(mutation):
        return wrong
    place = source / "sparring" / mutation.file
    right = place.read_text("utf-8")
    place.write_text(right.replace(mutation.old, mutation.new), "utf-8")
    Path(cache_from_source(str(place))).unlink(missing_ok=True)
    try:
        code, shown = run([f"tests/{mutation.test}"], source)
    finally:
        place.write_text(right, "utf-8")
    if code == FAILED:
        return "caught"
    return "SURVIVED" if code == 0 else f"the test did not run: {shown[-500:]}"


def main() -> int:
    """Plant the faults one after the other; a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="*", metavar="TEXT", help="faults with such a text in file, test or description"
    )
    wanted = parser.parse_args().only or [""]
    chosen = [m for m in MUTATIONS if any(text in f"{m.breaks} {m.file} {m.test}" for text in wanted)]
    if not chosen:
        print(f"no fault has any of {wanted} in its file, test or description")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(SOURCE, source / "sparring", ignore=shutil.ignore_patterns("__pycache__"))
        for module in HEAVY:
            import_module(module)
        code, shown = run(sorted({f"tests/{m.test}" for m in chosen}), source)
        if code:
            print(f"The tests fail without a fault:\n{shown[-6000:]}")
            return 1
        sys.dont_write_bytecode = True  # what was compiled so far is that of the untouched copy, and serves all
        survived = 0
        for number, mutation in enumerate(chosen, 1):
            began = time.monotonic()
            verdict = planted(mutation, source)
            survived += verdict != "caught"
            seconds = time.monotonic() - began
            print(f"{number:3} {verdict:9} {seconds:4.0f} s  {mutation.file:30} {mutation.breaks}", flush=True)
            print(f"{'':20} {mutation.test}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} faults caught")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
