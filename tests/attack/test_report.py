"""The HTML report: one file that shows everything, loads nothing, and runs nothing that is in the data."""

import base64
import hashlib
import json
import re

import pytest
from pages import HOSTILE, watched

from sparring.attack import page as paper
from sparring.attack.difference import visible
from sparring.attack.report import write_report
from sparring.errors import RunError


def outcome(row, status="failed", original="a good film", adversarial=None, **others):
    broken = status == "success"
    predicted, attacked = "negative" if status == "skipped" else "positive", "negative" if broken else None
    adversarial = [adversarial] if adversarial else None
    texts = dict(label="positive", original=[original], adversarial=adversarial, predicted=predicted, attacked=attacked)
    numbers = dict(queries=10 * (row + 1), changed=int(broken), words=4, similarity=None)
    confidence = dict(clean_confidence=0.9, attacked_confidence=0.25 if broken else None)
    return {"row": row, "status": status, **texts, **numbers, **confidence, "violations": []} | others


def recipe(name="textfooler", outcomes=(), **others):
    ends, none = ("", "_low", "_high"), ("changed_share", "queries_mean", "queries_median", "queries_p95", "similarity")
    shares = {f"{k}{e}": 0.5 for k in ("clean_accuracy", "accuracy_under_attack", "success_rate") for e in ends}
    summary = dict(examples=len(outcomes), seconds=12.5, violations=0, **shares, **dict.fromkeys(none))
    plain = dict(recipe=name, variant="paper", calibrated=False, temperature=1.0, stand_ins=[], off=[])
    settings = {"neighbours": [50, "the paper"]}
    return {**plain, "settings": settings, "summary": summary, "outcomes": list(outcomes)} | others


def content(*recipes, **others):
    plain = dict(title="Report", victim="runs/x", data={"origin": "a.csv", "rows": 9, "sha256": "0f"}, command=None)
    none = dict.fromkeys(("worst_case", "minimum", "comparison"))
    return {**plain, "versions": {"sparring": "1"}, **none, "recipes": list(recipes)} | others


def hostile():
    """Every field that can hold a text holds each of the payloads."""
    recipes = []
    for text in HOSTILE:
        words = {"label": text, "predicted": text, "attacked": text + "!", "violations": [text], "note": text}
        outcomes = [
            outcome(0, "success", f"{text} good", f"{text} bad", **words),
            outcome(1, "failed", text, **words),
            outcome(2, text, text, **words),
        ]
        named = {"variant": text, **{key: [text] for key in ("stand_ins", "off", "differs", "ignored")}}
        named["settings"] = {text: [text, text]}
        recipes.append(recipe(text, outcomes, **named))
    everything = "\n".join(HOSTILE)
    places = {
        "title": everything,
        "victim": everything,
        "command": everything,
        "comparison": [{everything: everything}],
    }
    named = {everything: everything}
    line = dict(recipe=everything, plain=0.5, calibrated=0.25, accuracy=0.125, low=0.1, high=0.2)
    places["calibration"] = {"rows": 9, "fitted_on": everything}
    places |= {"minimum": [line], "worst_case": dict(accuracy=0.1, low=0.0, high=0.2)}
    return content(*recipes, **places, data=named, versions=named)


def many():
    texts, statuses = ["a dull plot", "a warm and funny film"], ("success", "failed", "skipped")
    rows = [
        outcome(i, statuses[i % 3], f"{texts[i % 2]} {i}", None if i % 3 else f"{texts[i % 2]} X{i}") for i in range(45)
    ]
    other = [outcome(i, "success", "une fin", "une faim", label="french") for i in range(5)]
    return content(recipe("textfooler", rows), recipe("pwws", other))


def embedded(page):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])


def written(tmp_path, value):
    write_report(tmp_path / "report.html", value)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


# without a browser


def test_nothing_in_the_page_points_outside(tmp_path):
    page = written(tmp_path, many())
    assert not re.search(r"https?:|//\w|\bsrc=|\bhref=|url\(|@import|\bimport\b|fetch\(|XMLHttp|WebSocket", page)
    assert "innerHTML" not in page and "eval(" not in page and not re.search(r"<[^>]*\son\w+=", page)


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(tmp_path):
    page = written(tmp_path, many()).replace("&#39;", "'")
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page, re.S)[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for kind, tag in (("style", "style"), ("script", "script")):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", written(tmp_path, many()), re.S)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy


def test_hostile_texts_come_back_from_the_embedded_data(tmp_path):
    page = written(tmp_path, hostile())
    outcomes = embedded(page)["outcomes"]
    assert len(outcomes) == 3 * len(HOSTILE) and page.count("<script") == 2
    for i, text in enumerate(HOSTILE):
        shown = visible(text)
        assert outcomes[3 * i + 1]["fields"] == [[[0, shown]]] and outcomes[3 * i]["label"] == shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", page)


def test_a_difference_is_embedded_in_segments(tmp_path):
    found = embedded(written(tmp_path, content(recipe("x", [outcome(0, "success", "a good film", "a bad film")]))))
    fields = [[[0, "a "], [-1, "good"], [1, "bad"], [0, " film"]]]
    assert found["outcomes"][0]["fields"] == fields
    held = outcome(0, "failed", "a good film", attempt=["a bad film"])  # what was tried in vain is shown too
    assert embedded(written(tmp_path, content(recipe("x", [held]))))["outcomes"][0]["fields"] == fields


def test_a_curve_falls_where_an_attack_succeeds(tmp_path):
    rows = [outcome(0, "success"), outcome(1, "success", queries=10), outcome(2, "success", changed=2)]
    rows += [outcome(3, "failed"), outcome(4, "skipped")]
    queries, words = embedded(written(tmp_path, content(recipe("x", rows))))["curves"]
    assert queries["steps"] == [[[0, 0.8], [10, 0.4], [30, 0.2]]]
    assert words["steps"] == [[[0, 0.8], [25, 0.4], [50, 0.2]]]


@pytest.mark.parametrize("recipes", [[], [recipe()], [recipe("x", [outcome(0, "skipped", "", words=0)])]])
def test_there_is_a_page_without_results_too(tmp_path, recipes):
    assert "</html>" in written(tmp_path, content(*recipes))


def test_numbers_that_are_none_are_not_written_as_such(tmp_path):
    page = written(tmp_path, content(recipe("x", [outcome(0, clean_confidence=float("nan"))])))
    assert embedded(page)["outcomes"][0]["clean_confidence"] is None and "NaN" not in page


def test_recipes_of_one_name_are_told_apart(tmp_path):
    twice = [
        recipe("x"),
        recipe("x", calibrated=True, temperature=3.25),
        recipe("x"),
        recipe("x", variant="textattack"),
    ]
    names = embedded(written(tmp_path, content(*twice)))["recipes"]
    assert names == ["x", "x (calibrated, T = 3.25)", "x #2", "x (textattack)"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = written(tmp_path, many())
    monkeypatch.setattr(paper.os, "replace", full)
    with pytest.raises(RunError, match=r"cannot write .*report\.html: No space left"):
        write_report(tmp_path / "report.html", hostile())
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    with pytest.raises(RunError, match="cannot write"):
        write_report(tmp_path / "absent" / "report.html", many())


# in a browser


@pytest.fixture
def opened(browser, tmp_path):
    """A function that writes a report and opens it: the page, and what happened besides."""
    pages = []

    def show(value, change=lambda page: page):
        path = tmp_path / "report.html"
        path.write_text(change(written(tmp_path, value)), encoding="utf-8")
        page, events = watched(browser, path)
        pages.append(page)
        return page, events

    yield show
    for page in pages:
        page.close()


def chips(page):
    return page.locator(".chips button").all_inner_texts()


def shown(page, text):
    """Wait until the line of counts says so."""
    page.locator("#count", has_text=re.compile(f"^{re.escape(text)}$")).wait_for()


def test_the_list_counts_filters_searches_and_turns_pages(opened):
    page, events = opened(many())
    shown(page, "1–20 of 50")
    assert chips(page) == [
        "all · 50",
        "✕ attack succeeded · 20",
        "✓ model held · 15",
        "– wrong before the attack · 15",
    ]
    assert page.locator(".recipes tbody tr").count() == 2 and page.locator("figure path.series").count() > 4
    page.click("#next")
    page.click("#next")
    shown(page, "41–50 of 50")
    assert page.locator("#next").is_disabled() and page.locator(".example").count() == 10
    page.fill("#page", "1")
    page.press("#page", "Enter")
    shown(page, "1–20 of 50")
    page.click("[data-status=failed]")
    shown(page, "1–15 of 15")
    page.select_option("#recipe", label="pwws")
    shown(page, "nothing found")
    assert chips(page)[:3] == ["all · 5", "✕ attack succeeded · 5", "✓ model held · 0"]
    page.click("[data-status='']")
    shown(page, "1–5 of 5")
    page.select_option("#recipe", label="all recipes")
    page.select_option("#label", label="positive")
    shown(page, "1–20 of 45")
    page.fill("#search", "FUNNY x3")  # all words, in either text, in any case
    shown(page, "1–3 of 3")
    page.fill("#search", "#3")
    shown(page, "1–1 of 1")
    page.get_by_text("row 3", exact=True).click()
    shown(page, "1–2 of 2")
    assert events == []


def test_a_changed_word_is_marked_and_both_texts_can_be_read(opened):
    text = "the plot was good , " + "long " * 300
    page, events = opened(content(recipe("x", [outcome(0, "success", text, text.replace("good", "bad"))])))
    example = page.locator(".example")
    assert example.locator("del").all_inner_texts() == ["good"] and example.locator("ins").all_inner_texts() == ["bad"]
    assert "line-through" in example.locator("del").evaluate("node => getComputedStyle(node).textDecoration")
    assert "90.0\u00a0%" in example.inner_text() and "25.0\u00a0%" in example.inner_text()
    before = len(example.inner_text())
    example.locator(".fold").click()
    assert len(example.inner_text()) > before + 900 and example.locator(".fold").count() == 0
    page.select_option("#view", "two")
    assert [t[:21] for t in example.locator(".text").all_inner_texts()] == [
        "beforethe plot was go",
        "afterthe plot was bad",
    ]
    assert events == []


def test_the_curves_can_be_read_off_and_switched_off(opened):
    rows = [outcome(i, "success", queries=3 * 10**i) for i in range(4)]
    page, events = opened(content(recipe("x", rows)))
    figure = page.locator("figure").first
    assert figure.locator("output").inner_text() == "0.0\u00a0%"
    figure.locator("svg").first.hover()
    assert re.fullmatch(r"at most \d+ queries", figure.locator(".at").inner_text())
    assert figure.locator("output").inner_text() == "50.0\u00a0%"
    figure.locator("button").click()
    assert figure.locator("svg > g > path.series").get_attribute("visibility") == "hidden"
    assert events == []


def test_hostile_texts_are_shown_and_nothing_of_them_runs(opened):
    page, events = opened(hostile())
    shown(page, f"1–20 of {3 * len(HOSTILE)}")
    for view in ("two", "inline"):
        page.select_option("#view", view)
        for _ in range(2):
            page.click("#next")
        for _ in range(2):
            page.click("#previous")
    for details in page.locator("summary").all():
        details.click()
    for text in (HOSTILE[0], HOSTILE[3], "⟨U+202E⟩gnp.exe", "⟨U+001B⟩[31m"):
        page.fill("#search", text)
        page.locator(".text").first.filter(has_text=text).wait_for()
        shown(page, "1–3 of 3")
    assert page.evaluate("typeof window.hit") == "undefined"
    assert page.evaluate("[document.scripts.length, document.querySelectorAll('img, a, base, iframe').length]") == [
        2,
        0,
    ]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert events == []


def test_a_script_that_gets_into_the_page_does_not_run(opened):
    attack = (
        "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'><p onclick='window.hit = 1'>here</p></main>"
    )
    page, events = opened(many(), lambda text: text.replace("</main>", attack))
    shown(page, "1–20 of 50")
    page.get_by_text("here", exact=True).click()
    page.evaluate("setTimeout(() => document.body.innerHTML = '<b>hit</b>')")
    page.wait_for_timeout(50)
    assert page.evaluate("typeof window.hit") == "undefined" and page.locator(".example").count() == 20
    refused = [event for event in events if "Content Security Policy" in event or "TrustedHTML" in event]
    assert len(refused) >= 3


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_stands_out_of_the_page(opened, width):
    page, _ = opened(many())
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
