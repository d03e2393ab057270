"""Every recipe, with resources so small that it runs in an instant: what it is made of, and what it leaves behind."""

import dataclasses
import inspect
import json
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from fakes import BagOfWords, Lexicon, Scores, game
from puppets import WEIGHTS, WORDS, handset, random_model
from test_lexical import tiny_tagger
from test_wordnet import tiny_wordnet
from transformers import AutoModel, AutoModelForMaskedLM

from sparring.attack import recipes, resources
from sparring.attack.constrain import allowed, violations
from sparring.attack.engine import alone
from sparring.attack.game import Game
from sparring.attack.lexical import PartOfSpeech, Tagger
from sparring.attack.masked_lm import MaskedLM
from sparring.attack.recipe import Recipe
from sparring.attack.recipes import CONSTRAINTS, RECIPES, recipe
from sparring.attack.recipes.parts import most_similar
from sparring.attack.run import attack
from sparring.attack.search import by_deletion, by_head_and_tail, greedy
from sparring.attack.similarity import Encoder
from sparring.attack.text import Text
from sparring.attack.transform.combine import AnyOf, InTurn
from sparring.attack.transform.masked import MaskedInsert, MaskedSwap
from sparring.attack.transform.synonyms import NeighbourSwap
from sparring.attack.vectors import Neighbours
from sparring.attack.victim import CallableVictim, ModelVictim
from sparring.attack.wordnet import WordNet
from sparring.errors import DataError, ModelError, SettingError

SMALL = {"population": 6, "iterations": 3, "k": 12, "edits": 2, "positions": 4, "width": 3}
SINGLE = [
    ("The film was good and great, and it's 25 in London.", 1),
    ("a very GOOD film", 1),
    ("a film that was awful and dull and poor; the book was not", 0),
]
PAIRS = [(("the good book", "the film was good"), 1), (("the bad book", "a dull plot"), 0)]
DRIFTING = (
    "textfooler",
    "bae",
    "bae-i",
    "bae-r-or-i",
    "bae-r+i",
)  # similarity against the current text: the audit holds it against the original


@pytest.fixture(scope="module")
def resource_home(tmp_path_factory):
    """All five resources, tiny, added as a user adds them."""
    folder = tmp_path_factory.mktemp("resources")
    patch = pytest.MonkeyPatch()
    patch.setenv("SPARRING_HOME", str(folder / "home"))
    for name, task in (("masked_lm", AutoModelForMaskedLM), ("encoder", AutoModel)):
        model, tokenizer = random_model("bert", task=task)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        resources.add(name, folder / name)
    random = np.random.default_rng(0)
    rows = [f"{word} {1 + random.random() / 9:.4f} {random.random() / 9:.4f} 1" for word in WORDS]
    (folder / "vectors.txt").write_text("\n".join(rows) + "\n")
    resources.add("counterfitted", folder / "vectors.txt")
    resources.add("wordnet", tiny_wordnet(folder / "wordnet"))
    tiny_tagger(folder / "taggers")  # not the one whose checksum is known, so found as NLTK's data is
    patch.undo()
    return folder


@pytest.fixture
def home(resource_home, monkeypatch):
    monkeypatch.setenv("SPARRING_HOME", str(resource_home / "home"))
    monkeypatch.setenv("NLTK_DATA", str(resource_home))


@pytest.fixture(scope="module")
def victim():
    model, tokenizer = handset({**WEIGHTS, "[UNK]": -0.15, "dull": -1.0}, bias=0.02)
    return ModelVictim(model, tokenizer, half=False)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_attacks_and_its_successes_satisfy_its_constraints(name, home, victim):
    built = recipe(name, **SMALL)
    for rows, frozen in ((SINGLE, ()), (PAIRS, (0,))):
        results = attack(victim, rows, built, frozen=frozen)
        again = attack(victim, rows, recipe(name, **SMALL), frozen=frozen, pool=1)
        assert [o.status != "skipped" for o in results.outcomes] == [True] * len(rows)
        assert results.outcomes == again.outcomes
        bound = built.bound(victim)
        for o in results.outcomes:
            assert o.queries >= 1 and o.repeats < o.queries
            if o.status != "success":
                continue
            assert o.attacked != o.label == o.predicted and o.gold_after < 0.5 < o.gold_before
            assert 0 < o.changed <= o.words and o.adversarial != o.original
            assert all(o.adversarial[field] == o.original[field] for field in frozen)
            assert int(victim.exact.answer([o.adversarial])[0].argmax()) == o.attacked
            assert o.violations == () or (name in DRIFTING and all("current" in found for found in o.violations))
        assert bound.describe() == results.recipe


SELDOM = ("checklist", "textfooler", "a2t", "a2t-mlm", "bae", "bae-i", "bae-r-or-i", "bae-r+i", "hotflip")
ALWAYS = [name for name in RECIPES if name not in SELDOM]


@pytest.mark.parametrize("name", ALWAYS)
def test_a_recipe_breaks_a_weak_victim(name, home, victim):
    outcomes = attack(victim, SINGLE, recipe(name, **SMALL, without=("similarity",))).outcomes
    assert any(o.status == "success" for o in outcomes)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_describes_itself_in_plain_values_with_a_source_for_each_constant(name, home):
    described = recipe(name).describe()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described["recipe"] == name and described["paper"] and described["transform"]
    for constant, (value, source) in described["constants"].items():
        assert constant and value is not None and len(source) > 3, constant
    assert (inspect.getdoc(RECIPES[name]) or "").strip()


def made_of(name, without=()):
    """Names of the constraints of a recipe, by what `without` calls them."""
    return recipe(name, without=without).describe()


@pytest.mark.parametrize("name", RECIPES)
def test_a_constraint_that_is_switched_off_is_named_in_the_result(name, home, victim):
    on = made_of(name)
    for constraint in CONSTRAINTS:
        off = made_of(name, (constraint,))
        fewer = len(on["constraints"]) - len(off["constraints"])
        assert fewer == (constraint.replace("_", " ") in off["off"]) and constraint.replace("_", " ") not in on["off"]
        if not fewer:
            continue
        (gone,) = set(on["constraints"]) - set(off["constraints"])
        assert attack(victim, PAIRS[:1], recipe(name, without=(constraint,), **SMALL)).recipe["off"] == off["off"]
        if constraint == "similarity":
            assert "MiniLM" not in " ".join(off["stand_ins"]) or "embedding table" in " ".join(off["stand_ins"]), gone


EXPECTED = {
    "textfooler": {"stop_words", "word_cosine", "part_of_speech", "similarity"},
    "pwws": {"stop_words"},
    "bert-attack": {"stop_words", "share_of_words"},
    "bae": {"stop_words", "part_of_speech", "similarity"},
    "bae-i": {"stop_words", "similarity"},
    "bae-r-or-i": {"stop_words", "part_of_speech", "similarity"},
    "bae-r+i": {"stop_words", "part_of_speech", "similarity"},
    "textbugger": {"stop_words", "similarity"},
    "deepwordbug": {"stop_words", "edit_distance"},
    "a2t": {"stop_words", "share_of_words", "word_cosine", "part_of_speech", "similarity"},
    "a2t-mlm": {"stop_words", "share_of_words", "part_of_speech", "similarity"},
    "hotflip": {"stop_words", "share_of_words", "word_cosine", "part_of_speech", "lexeme"},
    "genetic": {"stop_words", "share_of_words", "word_cosine"},
    "pso": {"stop_words"},
    "checklist": set(),
    "clare": {"stop_words", "similarity"},
    "charmer": set(),
    "random": {"stop_words"},
    "random-characters": {"stop_words"},
}


def test_each_recipe_has_the_constraints_of_its_paper(home):
    assert EXPECTED.keys() == RECIPES.keys()
    for name, wanted in EXPECTED.items():
        found = {c for c in CONSTRAINTS if c.replace("_", " ") in made_of(name, CONSTRAINTS)["off"]}
        assert found == wanted, name
        assert not made_of(name, CONSTRAINTS)["constraints"]


RESOURCES = (Encoder, MaskedLM, Tagger, Neighbours, WordNet)


def parts_of(thing):
    """What a recipe is made of, as plain values: classes with what they were told, functions by their names."""
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, list | tuple):
        return [parts_of(one) for one in thing]
    if isinstance(thing, frozenset):
        return f"{len(thing)}, {crc32(' '.join(sorted(thing)).encode()):x}"
    if isinstance(thing, partial):
        told = {name: parts_of(value) for name, value in sorted(thing.keywords.items())}
        return {parts_of(thing.func): told | ({"args": parts_of(thing.args)} if thing.args else {})}
    if inspect.isroutine(thing):
        return thing.__qualname__.removesuffix(".<locals>.choice")
    if isinstance(thing, RESOURCES) or not hasattr(thing, "__dict__"):
        return type(thing).__name__
    told = {name: parts_of(value) for name, value in sorted(vars(thing).items()) if name not in ("identity", "name")}
    return {type(thing).__name__: {name: value for name, value in told.items() if not name.startswith("_")}}


def written(table):
    """The table as its file has it: a line a part."""
    blocks = []
    for name, parts in table.items():
        lines = [f"  {json.dumps(part)}: {json.dumps(value)}" for part, value in parts.items()]
        blocks.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def test_recipes_are_made_of_what_the_table_says(home):
    """recipes.json: search, transform, constraints, constants and words of each recipe and variant, read and agreed.

    After a change that is meant, put what this test prints into the file, and read it against docs/fidelity.md.
    """
    found = {}
    for name, make in RECIPES.items():
        varied = "variant" in inspect.signature(make).parameters
        for given in ({"variant": "paper"}, {"variant": "textattack"}) if varied else ({},):
            built = make(**given)
            parts = {part: parts_of(getattr(built, part)) for part in ("search", "transform", "constraints")}
            constants = {constant: list(pair) for constant, pair in built.constants.items()}
            said = {word: list(getattr(built, word)) for word in ("off", "stand_ins", "differs", "ignored")}
            found[" ".join([name, *given.values()])] = (
                parts | {"constants": constants} | {k: v for k, v in said.items() if v}
            )
    text = written(found)
    print(text)
    assert json.loads(text) == json.loads((Path(__file__).parent / "recipes.json").read_text(encoding="utf-8"))


# what is missing


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """No resource anywhere."""
    monkeypatch.setenv("SPARRING_HOME", str(tmp_path))
    monkeypatch.setattr(resources, "_elsewhere", lambda name: None)


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("textfooler", {"without": ("similarity",)}, ["pos_tagger", "NLTK_DATA", "--without part_of_speech"]),
        ("textfooler", {"without": ("part_of_speech",)}, ["encoder", "sparring[demo]", "--without similarity"]),
        ("textbugger", {}, ["encoder", "--without similarity"]),
        ("hotflip", {}, ["pos_tagger", "--without part_of_speech"]),
        ("pwws", {}, ["wordnet", "wordnet-base"]),
        ("pso", {}, ["wordnet", "wordnet-base"]),
        ("textfooler", {"synonyms": "counterfitted"}, ["counterfitted", "resources add"]),
        ("bert-attack", {}, ["masked_lm", "resources add"]),
        ("bae", {}, ["masked_lm", "resources add"]),
        ("clare", {}, ["masked_lm", "resources add"]),
        ("a2t-mlm", {}, ["masked_lm", "resources add"]),
    ],
)
def test_a_missing_resource_says_how_to_get_it_or_to_do_without(name, options, wanted, nothing):
    with pytest.raises((DataError, ModelError)) as caught:
        recipe(name, **options)
    for part in wanted:
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["deepwordbug", "checklist", "charmer", "random-characters"])
def test_some_recipes_need_no_resource_at_all(name, nothing, victim):
    assert attack(victim, SINGLE[:2], recipe(name, edits=2)).summary.clean_accuracy == 1


def test_without_what_is_missing_a_recipe_runs_and_says_what_was_off(nothing, victim, tmp_path):
    (tmp_path / "n.json").write_text(json.dumps({"good": ["dull", "fine"]}))
    built = recipe("textfooler", synonyms=tmp_path / "n.json", without=("similarity", "part_of_speech", "word_cosine"))
    results = attack(victim, SINGLE, built)
    assert results.recipe["off"] == ["word cosine", "part of speech", "similarity"]
    assert results.outcomes[1].adversarial == ("a very DULL film",)


def test_recipes_that_need_more_than_answers_say_so(home):
    for name in ("hotflip", "a2t"):
        with pytest.raises(ModelError, match=r"gradients|embedding table"):
            attack(BagOfWords({"good": 1.0}), [("a good film", 1)], recipe(name))
    with pytest.raises(ModelError, match="embedding table"):
        attack(BagOfWords({"good": 1.0}), [("a good film", 1)], recipe("random", synonyms="victim"))


def test_what_names_leave_out_tells_attacks_apart_when_one_is_resumed(home, tmp_path, victim):
    def identity(name, **options):
        return recipe(name, without=("similarity", "part_of_speech"), **options).bound(victim).identity()

    for name, option, values in (("charmer", "alphabet", ("abc", "xyz")), ("deepwordbug", "seed", (0, 1))):
        one, other = (identity(name, **{option: value}) for value in values)
        assert one != other and identity(name, **{option: values[0]}) == one
    found = []
    for words in (["dull"], ["fine"]):  # a file of one name
        (tmp_path / "n.json").write_text(json.dumps({"good": words}))
        found.append(identity("pwws", synonyms=tmp_path / "n.json")["made_of"])
    assert found[0] != found[1]
    assert all(identity("clare")["made_of"]) and len(identity("clare")["made_of"]) == 3
    found = []
    for words in (["dull"], ["fine"]):  # and so with what constraints look things up in
        tagger = Tagger({"bias": {tag: 1.0 for tag in words}}, {}, words, {})
        made = Recipe(
            name="x", paper="", search=greedy, transform=NeighbourSwap(None), constraints=(PartOfSpeech(tagger=tagger),)
        )
        found.append(made.identity()["held_by"])
    assert found[0] != found[1] and all(found[0])


def test_without_any_resource_the_table_of_the_victim_stands_in_for_synonyms(nothing, monkeypatch):
    def missing():
        raise ModelError("the default model is not installed")

    monkeypatch.setattr("sparring.model.load.minilm_folder", missing)
    made = recipe("random")
    assert "victim's embedding table" in made.transform.name and made.stand_ins == (made.transform.name,)
    made = recipe("hotflip", without=("word_cosine", "part_of_speech", "lexeme"))
    assert made.off == ("word cosine", "part of speech", "lexeme")
    assert any("counter-fitted vectors" in name for name in recipe("hotflip", without=("part_of_speech", "lexeme")).off)


def test_a_victim_in_full_precision_has_masked_words_in_full_precision_too(home):
    from sparring.attack.masked_lm import MaskedLM

    lm = MaskedLM.load(half=True)
    way = AnyOf(MaskedSwap(lm, 3), MaskedInsert(lm, 3))
    model, tokenizer = handset()
    for half in (True, False):
        swap, insert = way.bound(ModelVictim(model, tokenizer, half=half)).transforms
        assert swap.lm is insert.lm and swap.lm.half == half and swap.identity == lm.digest != ""


# asking for a recipe


def test_an_unknown_recipe_suggests_the_nearest():
    with pytest.raises(SettingError, match=r"'textfoler'.*did you mean 'textfooler'"):
        recipe("textfoler")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deepwordbug", {"without": ("edit_distanc",)}, "did you mean 'edit_distance'"),
        ("deepwordbug", {"variant": "textatack"}, "textatack"),
        ("textfooler", {"variant": "original", "without": CONSTRAINTS}, "original"),
        ("pwws", {"variant": ""}, "variant"),
        ("genetic", {"variant": "x"}, "'x'"),
        ("bae", {"kind": "Q"}, "'Q'"),
        ("textfooler", {"synonyms": "nowhere.txt"}, "nowhere.txt"),
        ("textfooler", {"k": 0}, "k is 0"),
        ("pso", {"synonyms": "wordnett"}, "wordnett"),
        ("charmer", {"alphabet": ""}, "alphabet"),
    ],
)
def test_options_that_make_no_sense_are_named(name, options, message, home):
    with pytest.raises((SettingError, DataError), match=message):
        recipe(name, **options)


def test_a_table_without_cosines_is_no_word_cosine_and_the_results_say_so(home, tmp_path, monkeypatch):
    (tmp_path / "n.json").write_text(json.dumps({"good": ["dull", "fine"]}))
    monkeypatch.setenv("SPARRING_HOME", str(tmp_path / "home"))
    resources.add("counterfitted", tmp_path / "n.json")
    without = ("similarity", "part_of_speech", "lexeme")
    for name, threshold, own in (("hotflip", "0.8", False), ("textfooler", "0.5", True), ("genetic", "0.75", True)):
        built = recipe(name, without=without)
        (off,) = [line for line in built.off if line.startswith(f"word cosine at least {threshold}: ")]
        assert "has no cosines" in off and off.endswith("its words count as filtered") == own
        assert not any("cosine" in constraint.name for constraint in built.constraints)


# variants


def greedy_play(built, text, victim):
    played = game(text, 1, victim)
    return played, alone(built.search(played, built.transform, built.constraints))


def test_textfooler_keeps_what_harms_more_than_the_original_and_textattack_what_harms_more_than_before(home, tmp_path):
    (tmp_path / "n.json").write_text(json.dumps({"aa": ["ax"], "bb": ["bx"], "cc": ["cx"]}))
    weights = {"aa": 1.0, "bb": 1.0, "cc": 1.0, "ax": -0.5, "bx": 2.0, "cx": -0.6}
    options = {"synonyms": tmp_path / "n.json", "without": CONSTRAINTS}
    _, paper = greedy_play(recipe("textfooler", **options), "aa bb cc", BagOfWords(weights))
    _, toolkit = greedy_play(recipe("textfooler", variant="textattack", **options), "aa bb cc", BagOfWords(weights))
    assert paper.fields == ("ax bx cx",)  # 0.9: the step back was made, and the third word does not suffice
    assert toolkit.fields == ("ax bb cx",)  # -0.1: broken


def test_pwws_asks_for_each_candidate_once_and_textattack_twice(tmp_path):
    words = [f"word{c}" for c in "abcdef"]
    (tmp_path / "n.json").write_text(json.dumps({word: [f"{word}x", f"{word}y", f"{word}z"] for word in words}))
    weights = {f"{word}x": -0.1 for word in words} | {f"{word}y": 0.1 for word in words}
    victim = BagOfWords(weights, bias=5.0)
    paper, _ = greedy_play(recipe("pwws", synonyms=tmp_path / "n.json"), " ".join(words), victim)
    toolkit, _ = greedy_play(
        recipe("pwws", synonyms=tmp_path / "n.json", variant="textattack"), " ".join(words), victim
    )
    n, k = 6, 3
    assert paper.queries == 1 + n + n * k + n
    assert toolkit.queries == 1 + n + n * k + n * k


def test_textbugger_of_the_toolkit_tries_a_look_alike_of_each_letter(home):
    counts = {}
    for variant in ("paper", "textattack"):
        _, alike, _ = recipe("textbugger", variant=variant, without=("similarity",)).transform.transforms
        counts[variant] = len(alone(alike.candidates(Text.of("cosy"), 0)))
    assert counts["paper"] == 1 < counts["textattack"]


VARIED = [name for name, make in RECIPES.items() if "variant" in inspect.signature(make).parameters]


@pytest.mark.parametrize("name", VARIED)
def test_textattack_knows_stop_words_in_small_letters_only(name, home):
    text = Text.of("The film WAS good and the plot")
    paper, toolkit = (recipe(name, variant=variant).constraints[0] for variant in ("paper", "textattack"))
    assert paper.words(text) == {1, 3, 6} and toolkit.words(text) == {0, 1, 2, 3, 6}


@pytest.mark.parametrize(
    ("name", "paper", "toolkit"),
    [
        ("textfooler", "radian >= 0.5 to the current", "angular >= 0.840845 to the current"),
        ("bae", "radian >= 0.8 to the current text, window of 15 words, shorter ones >= 0.1", "cosine >= 0.936338"),
        ("textbugger", "cosine >= 0.8 ", "angular >= 0.8 "),
        ("bert-attack", None, "cosine >= 0.2 "),
    ],
)
def test_similarity_is_measured_as_the_variant_does(name, paper, toolkit, home):
    for variant, wanted in (("paper", paper), ("textattack", toolkit)):
        named = [c for c in recipe(name, variant=variant).describe()["constraints"] if "similarity" in c]
        assert (wanted is None and not named) or wanted in named[0]


def test_what_differs_from_the_paper_is_said_and_changes_no_identity(home):
    for name in ("deepwordbug", "textbugger"):
        paper, toolkit = (recipe(name, variant=variant) for variant in ("paper", "textattack"))
        assert paper.differs and not toolkit.differs and "differs" not in paper.describe()
    combined = recipe("deepwordbug", combined=True)
    assert not combined.differs and combined.search.keywords["importance"] is by_head_and_tail
    assert any("keyboard" in text for text in recipe("textbugger").differs)


def test_the_antonym_filter_of_bert_attack_is_off_until_it_is_asked_for(home, monkeypatch, tmp_path):
    vectors = Neighbours.from_vectors("v", ["good", "fine", "bad"], np.array([[1.0, 0], [3, 4], [-1, 0]]))
    monkeypatch.setattr("sparring.attack.recipes.language_model.counterfitted", lambda: vectors)
    plain, filtered = recipe("bert-attack"), recipe("bert-attack", antonym_filter=True)
    assert "antonym_filter=true" in plain.off[0] and not filtered.off and len(filtered.constraints) == 3
    text = Text.of("a good film")
    candidates = [text.replace(1, word) for word in ("fine", "bad", "unheard")]
    found = alone(allowed(filtered.constraints, text, text, candidates))
    assert [one.slots[1] for one in found] == ["fine", "unheard"]
    assert recipe("bert-attack", antonym_filter=True, without=("word_cosine",)).off == ("word cosine",)
    table = Neighbours.from_table("t", {"good": [["fine", 0.6]]})
    monkeypatch.setattr("sparring.attack.recipes.language_model.counterfitted", lambda: table)
    with pytest.raises(DataError, match=r"add it from vectors.*--without word_cosine"):
        recipe("bert-attack", antonym_filter=True)


def test_of_words_that_break_the_victim_the_one_is_taken_whose_text_stays_closest(monkeypatch):
    close = {"a good film": [1.0, 0.0], "a poor film": [0.0, 1.0], "a plain film": [0.8, 0.6]}
    monkeypatch.setattr(Encoder, "default", lambda: Scores(lambda text: np.array(close[text]), name="encoder"))
    victim = BagOfWords({"good": 1.0, "poor": -3.0, "plain": -1.0})
    for without, found in (((), "a plain film"), (("similarity",), "a poor film")):
        played = game("a good film", 1, victim)
        search = greedy(
            played, Lexicon({"good": ["poor", "plain"]}), (), importance=by_deletion, choice=most_similar(without)
        )
        assert alone(search).fields == (found,)


def bert_attack_with(words):
    """The recipe, with candidates from a dict in place of a language model's."""
    return dataclasses.replace(recipe("bert-attack"), transform=Lexicon(words))


def test_bert_attack_changes_the_last_word_too(home):
    _, found = greedy_play(bert_attack_with({"good": ["bad"]}), "film great good", BagOfWords({"good": 1, "bad": -1}))
    assert found.fields == ("film great bad",)


@pytest.mark.parametrize(("length", "most"), [(5, 2), (6, 3), (10, 4)])
def test_bert_attack_changes_four_tenths_of_the_words_and_none_more(home, length, most):
    old, new = [f"w{c}" for c in "abcdefghij"[:length]], [f"x{c}" for c in "abcdefghij"[:length]]
    words = {a: [b] for a, b in zip(old, new, strict=True)}
    for needed, broken in ((most, True), (most + 1, False)):
        victim = BagOfWords(dict.fromkeys(new, -1.0), bias=needed - 0.5)
        _, found = greedy_play(bert_attack_with(words), " ".join(old), victim)
        assert sum(a != b for a, b in zip(old, found.fields[0].split(), strict=True)) == most
        assert (victim.scores(found.fields).argmax() == 0) == broken


def test_bert_attack_leaves_no_candidate_that_did_not_help(home):
    weights = {"film": 2.0, "movie": 3.0, "good": 1.0, "bad": -5.0}
    _, found = greedy_play(bert_attack_with({"film": ["movie"], "good": ["bad"]}), "film good", BagOfWords(weights))
    assert found.fields == ("film bad",)


def test_options_that_a_recipe_does_not_have_are_named():
    built = recipe("checklist", variant="textattack", synonyms="minilm", seed=3, without=())
    assert built.variant == "paper" and built.ignored == (
        "variant textattack: checklist has no other variant than paper",
        "synonyms minilm: checklist has no such option",
    )
    assert recipe("deepwordbug", variant="textattack").ignored == recipe("checklist", variant="paper").ignored == ()
    with pytest.raises(SettingError, match="'x'"):
        recipe("checklist", variant="x")


@pytest.mark.parametrize("name", ["genetic", "pso"])
def test_population_searches_are_told_the_variant(name, home):
    for variant in ("paper", "textattack"):
        assert recipe(name, variant=variant).search.keywords["variant"] == variant


def test_textfooler_drifts_and_the_audit_says_so(home, victim):
    """Against the current text each step is small; the audit holds the end against the beginning."""
    built = recipe("textfooler", **SMALL).bound(victim)
    text = Text.of("good good good good good good good good good good good good good good good good")
    end = text.with_slots(["dull"] * len(text))
    found = alone(violations(built.constraints, text, end))
    assert found and all("current" in name or "cosine" in name or "speech" in name for name in found)


BAE = [("R", "bae", {0}), ("I", "bae-i", {1}), ("R/I", "bae-r-or-i", {0, 1}), ("R+I", "bae-r+i", {0, 1})]


@pytest.mark.parametrize(("kind", "name", "spaces"), BAE)
def test_bae_replaces_inserts_or_does_either(kind, name, spaces, home, victim):
    built = recipes.bae(kind=kind, k=12, without=("similarity", "part_of_speech"))
    assert built.name == name
    candidates = alone(built.transform.candidates(Text.of("the film was good"), 3))
    assert {candidate.slots[3].count(" ") for candidate in candidates} == spaces


def test_bae_r_and_i_replaces_a_word_and_then_inserts_one_beside_it():
    class Word:
        """One text, in which something is done to a word."""

        def __init__(self, change):
            self.change, self.name = change, "made up"

        def candidates(self, text, index):
            return [text.replace(index, self.change(text.slots[index]))]
            yield

    victim = CallableVictim(lambda texts: [[len(text) / 100 - 1, 0.0] for text in texts])  # the longer, the worse
    steps = Word(lambda word: word + "er"), Word(lambda word: f"very {word}")

    def first(game, transform, constraints, words):
        return np.array([0.0, 1.0])
        yield

    for way, end in ((InTurn, "very aer very ber"), (AnyOf, "very a very b")):
        game = Game(Text.of("a b"), 1, victim)
        alone(game.open())
        found = alone(greedy(game, way(*steps), (), importance=first))
        assert " ".join(found.fields) == end


def test_every_recipe_is_a_function_of_its_name():
    for name, make in RECIPES.items():
        assert getattr(recipes, name.replace("-", "_").replace("+", "_")) is make, name
        assert name.replace("-", "_").replace("+", "_") in recipes.__all__
