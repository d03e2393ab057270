"""The page of a study: every figure of the summary, where it comes from, and nothing that the data could start."""

import base64
import dataclasses
import hashlib
import json
import re
import sys
import time
import zlib
from types import SimpleNamespace

import pytest
from commands import sparring
from pages import HOSTILE, watched
from summaries import ARMS, FAMILIES, make_summary

from sparring.attack.difference import visible
from sparring.study import report_data
from sparring.study.plots import Bar, Line, Point, Value, bars, linear_axis, lines, log_axis, scatter, spread
from sparring.study.report import reach, render, write_report
from sparring.study.summary import Group, Measure, Summary

PERCENT = "{:.1f}\u00a0%".format
OPEN = "for (const part of document.querySelectorAll('details')) part.open = true"
FEW = {"standard": "baseline", "a2t": "input", "pgd": "embedding"}
AS_IT_IS = {"verdict", "what", "status", "metric"}
"""Fields of a summary that are one of a few words."""
NAMED = {"arms", "failed", "jobs", "settings", "data", "environment", "versions"}
"""Mappings whose keys come from people."""


def embedded(page):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])


def poisoned(value, name=""):
    """The same summary with a payload in each text; equal texts stay equal."""
    if isinstance(value, str):
        return value if name in AS_IT_IS else f"{value} {HOSTILE[zlib.crc32(value.encode()) % len(HOSTILE)]}"
    if dataclasses.is_dataclass(value):
        fields = {f.name: poisoned(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
        return type(value)(**fields)
    if isinstance(value, dict):
        return {
            poisoned(k) if name in NAMED else k: poisoned(v, k if name not in NAMED else "") for k, v in value.items()
        }
    return type(value)(poisoned(item) for item in value) if isinstance(value, list | tuple) else value


def hostile():
    """Every payload in every kind of place."""
    summary = make_summary(arms=FEW, recipes=("textfooler",), examples=4, tops=2, budgets=("epochs", "passes"))
    everything = "\n".join(HOSTILE)
    attacks = [line | {"result": {"recipe": line["name"], "examples": []}} for line in summary.attacks[:1]]
    for i, text in enumerate(HOSTILE):
        words = {"label": text, "predicted": text, "attacked": text + "!", "status": "success", "queries": 1}
        texts = {"row": 100 + i, "original": [f"{text} good"], "adversarial": [f"{text} bad"]}
        attacks[0]["result"]["examples"].append(words | texts)
    places = {"missing": (everything,), "failed": {everything: everything}, "damaged": (everything,)}
    return dataclasses.replace(
        poisoned(summary),
        name=everything,
        left_out=(everything,),
        attacks=tuple(attacks) + poisoned(summary).attacks,
        **places,
    )


@pytest.fixture(scope="module")
def summary():
    return make_summary(recipes=("textfooler", "pwws"), budgets=("epochs", "passes"), examples=4, tops=2)


@pytest.fixture(scope="module")
def page(summary):
    return render(summary)


# without a browser


def test_every_figure_is_in_the_table_with_its_interval_difference_p_and_records(summary, page):
    for cell in summary.cells:
        place = re.search(
            rf'<td [^>]*title="([^"]*)"><button class="figure" data-cell="{summary.cells.index(cell)}">(.*?)</td>',
            page,
            re.S,
        )
        title, shown = place.groups()
        assert shown.startswith(PERCENT(100 * cell.spread.mean)) and all(job in title for job in cell.spread.jobs)
        low, high = cell.spread.bootstrap_interval
        assert f"{100 * low:.1f} to {100 * high:.1f}" in shown
        if cell.comparison is None:
            assert "gain" not in shown
        else:
            assert f"{100 * cell.comparison.difference:+.1f}".replace("-", "−") in shown
            assert {"better": "▲", "worse": "▼", "open": "p = 1.00"}[cell.comparison.verdict] in shown


def test_a_column_says_how_many_rows_its_figures_have(summary, page):
    heads = re.findall(r'<th scope="col" class="number"[^>]*>.*?</th>', page, re.S)
    said = [re.search(r'<span class="kind">([\d,-]+) rows</span>', head) for head in heads]
    counts = {f"{cell.spread.rows:,}" for cell in summary.cells if cell.spread.rows}
    assert counts and counts <= {end for found in said if found for end in found[1].split("-")}


def test_claims_and_questions_stand_with_their_verdicts(summary, page):
    for claim in summary.claims:
        assert page.count(claim.sentence.replace("'", "&#39;").replace("+", "+")) >= 1
    for question in summary.questions:
        at = page.index(question.text)
        assert question.verdict in page[at - 120 : at] and question.answer in page[at : at + 300]


def test_a_study_that_decides_nothing_says_how_far_its_intervals_reach_and_calls_no_arm_the_winner(summary, page):
    assert "Nothing is decided" not in page
    cells = tuple(
        cell
        if cell.comparison is None
        else dataclasses.replace(cell, comparison=dataclasses.replace(cell.comparison, verdict="open"))
        for cell in summary.cells
    )
    claims = tuple(dataclasses.replace(claim, verdict="open") for claim in summary.claims)
    undecided = render(dataclasses.replace(summary, cells=cells, claims=claims))
    half = f"{50 * (cells[-1].comparison.interval[1] - cells[-1].comparison.interval[0]):.1f}"
    said = f"Nothing is decided by these numbers. 95 % intervals of single differences reach {half} points"
    assert undecided.count(said) == 2
    tiles = re.findall(r'<span class="what">highest .*?</div>', undecided, re.S)
    assert tiles and all("not shown to differ" in tile or "the baseline itself" in tile for tile in tiles)


def test_one_seed_decides_nothing_and_figures_that_make_no_claim_do_not_count(summary):
    alone = [
        dataclasses.replace(cell, comparison=cell.comparison and dataclasses.replace(cell.comparison, seeds=1))
        for cell in summary.cells
    ]
    assert reach(alone) == "One seed decides nothing, however large a difference is." and reach([]) == ""
    radii = [dataclasses.replace(cell, measure=Measure("radius", "0.1x")) for cell in summary.cells]
    assert reach(radii) == ""


def test_a_figure_leads_to_its_records_and_their_settings(summary, page):
    data = embedded(page)
    assert len(data["cells"]) == len(summary.cells) and len(data["jobs"]) == len(summary.jobs)
    for cell, row in zip(summary.cells, data["cells"], strict=True):
        jobs = [dict(zip(data["columns"], data["jobs"][place], strict=True)) for place in row[9]]
        assert [job["job"] for job in jobs] == list(cell.spread.jobs)
        settings = [data["values"][job["settings"]] for job in jobs]
        assert settings == [summary.jobs[job]["settings"] for job in cell.spread.jobs]
    for claim in summary.claims:
        places = [data["jobs"].index(row) for row in data["jobs"] if row[0] in claim.jobs]
        assert f'data-jobs="{" ".join(map(str, places))}"' in page


def test_a_record_that_is_nowhere_is_named_as_such(summary):
    found = embedded(render(dataclasses.replace(summary, jobs={})))
    jobs = {row[0]: found["values"][row[found["columns"].index("status")]] for row in found["jobs"]}
    assert jobs[summary.cells[0].spread.jobs[0]] == "not in the records" and jobs[summary.attacks[0]["job"]] == "done"


def test_the_edits_of_an_example_are_its_texts():
    flags = "🙂 one 🏳️‍🌈 two", "🙂 won 🏳️‍🌈 two 🙃"
    pairs = [("a good film", "a bad film"), flags, ("same", "same"), ("gone", ""), ("", "new")]
    pairs += [("a\u202eb c", "a\u202eb d"), ("old lone \ud800", "new lone \ud800")]
    shown = [{"original": [a], "adversarial": [b], "row": i, "status": "success"} for i, (a, b) in enumerate(pairs)]
    line = {"job": "x", "arm": "a", "result": {"recipe": "r", "examples": shown}}
    packed, left = report_data.pack_examples([line], {"a": "f"}, {"f": 0}, report_data.Book({}))
    assert not left
    for (before, after), row in zip(pairs, packed["rows"], strict=True):
        text, at, sides = packed["texts"][row[-2][0]].encode("utf-16-le"), 0, ["", ""]
        for edit in row[-1][0]:
            if isinstance(edit, str):
                sides[1] += edit
                continue
            part, at = text[2 * at : 2 * (at + abs(edit))].decode("utf-16-le"), at + abs(edit)
            sides[0] += part
            sides[1] += part if edit > 0 else ""
        assert sides == [visible(before), visible(after)]


def test_examples_without_room_are_counted(summary, monkeypatch):
    monkeypatch.setattr(report_data, "ROOM", 20_000)
    found = render(summary)
    shown = len(embedded(found)["examples"]["rows"])
    held = sum(len(line["result"]["examples"]) for line in summary.attacks)
    assert 0 < shown < held and f"{held - shown:,} examples had no room on this page" in found
    seeds = [row[3] for row in embedded(found)["examples"]["rows"]]
    assert seeds == sorted(seeds)


def test_half_a_study_has_a_report_that_says_what_is_missing(summary):
    base = next(iter(summary.arms))
    cells = tuple(
        dataclasses.replace(
            cell,
            comparison=None,
            spread=dataclasses.replace(cell.spread, sd=None, t_interval=None, bootstrap_interval=None),
        )
        for cell in summary.cells
        if cell.arm == base
    )
    half = dataclasses.replace(
        summary, cells=cells, costs=(), claims=(), questions=(), neurons=(), attacks=(),
        missing=("sst2: pgd, seed 0: train",), failed={"sst2: a2t, seed 1: train": "ModelError: no such model"},
        damaged=("records.jsonl, line 3, is damaged",), left_out=("other rows",),
    )  # fmt: skip
    found = render(half)
    for text in (*half.missing, *half.left_out, *half.damaged, "ModelError: no such model", "is not finished"):
        assert text in found
    assert f"{len(summary.jobs):,} of {len(summary.jobs) + 2:,} jobs are done, 1 failed, 1 missing" in found
    assert 'id="questions"' not in found and 'id="examples"' not in found and 'id="neurons"' not in found


def test_nothing_at_all_has_a_report():
    empty = Summary("new", "standard", {"standard": "baseline"}, (), (), (), (), (), (), (), (), ("all of it",), {})
    found = render(empty)
    assert "nothing to compare yet" in found and "all of it" in found
    alone = dataclasses.replace(
        empty, groups=(Group("sst2", "minilm", "epochs"),), measures=(Measure("clean", "sst2"),)
    )
    assert "</html>" in render(alone)


def test_neuron_records_with_gaps_are_shown(summary):
    line = summary.neurons[0]
    gaps = line | {"result": {"corpus": "ud", "column": "xpos", "minimal": {"size": 41}}}
    found = render(dataclasses.replace(summary, neurons=(gaps, line | {"result": {}})))
    assert "xpos in <bdi>ud</bdi>" in found and "<b>41</b>" in found


def test_neurons_are_shown_by_arm_with_their_layers_words_and_tags(summary, page):
    pgd = [line["result"] for line in summary.neurons if (line["arm"], line["budget"]) == ("pgd", "epochs")]
    size = sum(result["minimal"]["size"] for result in pgd) / len(pgd)
    row = re.search(
        r"<tr[^>]*>(?:(?!</tr>).)*<bdi>pgd · equal epochs</bdi></b> <span class=\"soft\">2 seeds.*?</tr>", page, re.S
    )[0]
    assert f"<b>{size:.0f}</b>" in row and f"{pgd[0]['exclusive']['effective_tags']:.2f}" not in row
    heat = re.search(r"<th scope=\"row\">(?:(?!</tr>).)*<bdi>pgd · equal epochs</bdi>.*?</tr>", page, re.S)[0]
    profile = [sum(layer) / 2 for layer in zip(*(result["layer_profile"] for result in pgd), strict=True)]
    assert re.findall(r'<td class="h\d+">(\d+)</td>', heat) == [f"{value:.0f}" for value in profile]
    assert heat.count('class="h10"') == profile.count(max(profile))
    for neuron in pgd[0]["top"]:
        for word, activation in neuron["words"]:
            assert f'title="{activation:.2f}">{word}</bdi>' in page
    assert "<bdi>VERB</bdi>\u202f★" in page


def test_nothing_in_the_page_points_outside(page):
    shown = page.replace("http://www.w3.org/2000/svg", "")  # a name, which nobody loads
    assert not re.search(r"https?:|//\w[\w-]*\.\w|\bsrc=|url\(|@import|\bimport\b|fetch\(|XMLHttp|WebSocket", shown)
    assert all(target.startswith("#") for target in re.findall(r'\bhref="([^"]*)"', page))
    assert "innerHTML" not in page and "eval(" not in page and not re.search(r"<[^>]*\s(on\w+|style)=", page)


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(page):
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page.replace("&#39;", "'"), re.S)[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for kind in ("style", "script"):
        body = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.S)[1]
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}';" in policy


def test_hostile_texts_are_written_out(tmp_path):
    write_report(hostile(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<script") == 2 and page.count("<img") == 0
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", page)


# where things stand


def test_names_beside_lines_keep_their_order_and_distance():
    assert spread([10, 50, 90], 14, 100) == [10, 50, 90]
    found = spread([50, 49, 50, 99], 14, 100)
    assert sorted(range(4), key=found.__getitem__) == [1, 0, 2, 3] and max(found) <= 100
    assert all(b - a >= 14 - 1e-9 for a, b in zip(sorted(found), sorted(found)[1:], strict=False))


def test_an_axis_holds_its_values_and_marks_round_numbers():
    axis = linear_axis([0.62, 0.88], 480, lambda x: f"{x:g}", share=True)
    assert (
        axis.low < 0.62
        and axis.high > 0.88
        and [text for _, text in axis.ticks] == ["0.65", "0.7", "0.75", "0.8", "0.85"]
    )
    assert all(abs(axis.at(float(text)) - place) < 0.2 for place, text in axis.ticks)
    full = linear_axis([0.0, 1.0], 300, lambda x: f"{x:g}", share=True)
    assert (full.low, full.high) == (0, 1) and full.ticks[0] == (0, "0") and full.ticks[-1] == (300, "1")
    one = linear_axis([0.5], 300, lambda x: f"{x:g}", share=True)
    assert 0 < one.at(0.5) < 300
    assert log_axis([1, 1000], 300).at(10) == 100 and log_axis([5], 300).ticks


def test_marks_are_inside_and_labels_cover_nothing():
    arms = [
        Point(f"arm-{i}", 0, Value(0.8 + i % 5 / 100, 0.7, 0.9), Value(i / 30, i / 30, 0.99), i + 1.0, i, "")
        for i in range(30)
    ]
    plot = scatter(arms, 900, (str, str), shares=True)
    assert [mark.radius for mark in plot.marks] == sorted((mark.radius for mark in plot.marks), reverse=True)
    areas = [(mark.radius - 5) ** 2 / mark.point.cost for mark in plot.marks]
    assert max(areas) / min(areas) < 1.1  # the area beyond the least radius is the cost
    boxes = []
    for mark in plot.marks:
        assert 0 <= mark.x <= plot.x.length and 0 <= mark.y <= plot.y.length
        if mark.label:
            x, y, anchor, text = mark.label
            left = x - {"start": 0, "middle": 0.5, "end": 1}[anchor] * 7 * len(text)
            boxes.append((left, y - 10, left + 7 * len(text), y + 3))
    assert len(boxes) > 15
    for i, a in enumerate(boxes):
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in boxes[:i])


def test_bars_and_lines_are_as_long_as_their_values():
    rows = [Bar(f"arm-{i}", 0, Value(v, v / 2, v), None, "", "", i, "") for i, v in enumerate((0.2, 0.4, 0.8))]
    lengths = [placed.sides[1] for placed in bars(rows, 340).bars]
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=0.2) and lengths[2] == pytest.approx(4 * lengths[0], abs=0.4)
    plot = lines(
        [Line("a", 0, 0, ((0.0, Value(0.9)), (0.1, Value(0.5)), (0.2, Value(0.1))))], 900, (str, str), shares=True
    )
    (x0, y0), (x1, y1), (x2, y2) = plot.lines[0].dots
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y1 - y0 == pytest.approx(y2 - y1, abs=0.2) and y2 > y0


# in a browser


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """A function that opens a page of a summary: the page, and what happened besides."""
    pages = []

    def show(found, change=lambda text: text, **context):
        path = tmp_path_factory.mktemp("study") / "report.html"
        path.write_text(change(found if isinstance(found, str) else render(found)), encoding="utf-8")
        page, events = watched(browser, path, **context)
        pages.append(page)
        return page, events

    yield show
    for page in pages:
        page.close()


def column(page, table, number):
    return page.locator(f"{table} tbody tr:visible td:nth-child({number})").all_inner_texts()


def test_the_table_sorts_filters_and_shows_columns(opened, page):
    view, events = opened(page)
    table = "[data-group='0'] .matrix"
    names = view.locator(f"{table} tbody tr:visible th bdi:first-of-type")
    assert [text.split("\n")[0] for text in view.locator(f"{table} tbody th").all_inner_texts()] == list(ARMS)
    view.locator(f"{table} thead th").nth(3).get_by_role("button").click()
    values = [float(text.split("\u00a0")[0]) for text in column(view, table, 4)]
    assert values == sorted(values, reverse=True) and len(values) == len(ARMS)
    view.locator(f"{table} thead th").nth(3).get_by_role("button").click()
    assert view.locator(f"{table} thead th").nth(3).get_attribute("aria-sort") == "ascending"
    assert [float(text.split("\u00a0")[0]) for text in column(view, table, 4)] == values[::-1]
    view.fill("[data-group='0'] [data-filter]", "embed")
    assert {name for name in names.all_inner_texts() if name in ARMS} == {"pgd", "freelb", "alum"}
    hidden = view.locator(f"{table} thead th", has_text="calibrated attacker")
    assert not hidden.first.is_visible()
    view.get_by_role("button", name="calibrated attacker").first.click()
    assert hidden.first.is_visible()
    assert events == []


def test_the_list_of_figures_follows_the_group_and_opens_to_its_records(opened, summary, page):
    view, events = opened(page)
    per_group = len(summary.cells) // 2
    assert view.locator("#figure-count").inner_text() == f"1–25 of {per_group}"
    view.select_option("#figure-verdict", "better")
    better = [
        c for c in summary.cells if c.group == summary.groups[0] and c.comparison and c.comparison.verdict == "better"
    ]
    assert view.locator("#figure-count").inner_text().endswith(f"of {len(better)}")
    view.locator("#figure-table th", has_text="difference").get_by_role("button").click()
    found = [float(text.split("\n")[0]) for text in column(view, "#figure-table", 4)]
    assert found == sorted(found, reverse=True) and found[0] == round(
        100 * max(c.comparison.difference for c in better), 1
    )
    view.fill("#figure-search", "PGD textfooler")
    view.locator("#figure-count", has_text=re.compile(r"of \d\b|nothing")).wait_for()
    view.get_by_role("button", name="sst2 · minilm · equal passes").click()
    cell = next(
        c
        for c in summary.cells
        if (c.arm, c.group.budget, c.measure) == ("pgd", "passes", Measure("attack", "textfooler"))
    )
    row = view.locator("#figure-table tbody tr", has_text="accuracy under textfooler").first
    row.click()
    text = view.locator("#figure-table .open").inner_text()
    assert all(job in text for job in cell.spread.jobs) and "McNemar" in text and "the larger of two p-values" in text
    assert all(f"seed {seed}: {PERCENT(100 * value)}" in text for seed, value in cell.spread.values.items())
    view.locator("#figure-table .open").get_by_role("button", name=cell.spread.jobs[1]).click()
    dialog = view.locator("dialog")
    assert (
        summary.jobs[cell.spread.jobs[1]]["title"] in dialog.inner_text()
        and '"learning_rate": 0.0002' in dialog.inner_text()
    )
    dialog.get_by_role("button", name="close").click()
    assert not dialog.is_visible() and events == []


def test_a_figure_and_a_mark_open_what_they_rest_on(opened, summary, page):
    view, events = opened(page)
    view.locator("[data-group='0'] .matrix .figure").nth(1).click()
    assert view.locator("dialog h3").inner_text() == f"standard: {summary.measures[1].title}"
    job = summary.cells[1].spread.jobs[0]
    view.locator("dialog").get_by_role("button", name=job).click()
    assert summary.jobs[job]["title"] == view.locator("dialog h3").inner_text()
    view.locator("dialog").get_by_role("button", name="← back").click()
    view.locator("dialog").get_by_role("button", name="close").click()
    mark = view.locator("[data-group='0'] figure svg.wide-plot .point").first
    mark.dispatch_event("click")
    assert "accuracy under the worst attack" in view.locator("dialog h3").inner_text()
    view.keyboard.press("Escape")
    view.get_by_role("button", name="records").first.dispatch_event("click")
    assert view.locator("dialog h3").inner_text() == "3 records" and events == []


def test_examples_are_found_by_arm_attack_fate_and_word(opened, summary, page):
    view, events = opened(page)
    shown = [(line, e) for line in summary.attacks for e in line["result"]["examples"]]
    own = [e for line, e in shown if line["arm"] == "pgd" and line["budget"] == "epochs" and line["name"] == "pwws"]
    view.select_option("#example-arm", "pgd")
    view.select_option("#example-recipe", "pwws")
    fell = [e for e in own if e["status"] == "success"]
    chips = view.locator("[data-fate]").all_inner_texts()
    assert chips[:2] == [f"all · {len(own)}", f"✕ fell · {len(fell)}"]
    view.click("[data-fate=success]")
    example = view.locator(".example").first
    first = min(fell, key=lambda e: e["row"])
    (old,), (new,) = first["original"], first["adversarial"]
    gone = next(a for a, b in zip(old.split(), new.split(), strict=True) if a != b)
    assert example.locator("del").all_inner_texts() == [gone] and example.locator("ins").all_inner_texts() == [
        gone + "X"
    ]
    example.get_by_role("button", name="row").click()
    everywhere = sum(e["row"] == first["row"] for _, e in shown)
    view.locator("#example-count", has_text=re.compile(f"of {everywhere}$")).wait_for()
    view.fill("#search", "curiously joyless")
    view.locator(
        "#example-count", has_text=re.compile(f"of {sum('joyless' in e['original'][0] for _, e in shown)}$")
    ).wait_for()
    assert events == []


def test_colours_follow_the_reader_and_the_switch(opened, page):
    ground = "getComputedStyle(document.body).backgroundColor"
    dark, events = opened(page, color_scheme="dark")
    light, _ = opened(page, color_scheme="light")
    colours = dark.evaluate(ground), light.evaluate(ground)
    assert colours[0] != colours[1]
    light.get_by_role("button", name="dark").click()
    assert light.evaluate(ground) == colours[0]
    dark.get_by_role("button", name="light").click()
    assert dark.evaluate(ground) == colours[1] and events == []
    dark.emulate_media(media="print")
    assert dark.locator(".matrix:visible").count() == 2 and not dark.locator(".theme").is_visible()


def test_hostile_texts_are_shown_and_nothing_of_them_runs(opened):
    page, events = opened(hostile())
    page.evaluate(OPEN)
    for button in page.locator(".js[data-jobs]:visible, .figure:visible").all()[:12]:
        button.click()
        page.keyboard.press("Escape")
    for row in page.locator("#figure-table tbody tr, #job-table tbody tr").all()[:8]:
        row.click()
    for text in (HOSTILE[0], HOSTILE[3], "⟨U+202E⟩gnp.exe", "⟨U+001B⟩[31m"):
        page.fill("#search", text)
        page.locator(".example").filter(has_text=text).first.wait_for()
    assert page.evaluate("typeof window.hit") == "undefined"
    assert page.evaluate(
        "[document.scripts.length, document.querySelectorAll('img, base, iframe, [href]:not([href^=\"#\"])').length]"
    ) == [2, 0]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert events == []


def test_a_script_that_gets_into_the_page_does_not_run(opened, page):
    attack = (
        "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'><p onclick='window.hit = 1'>here</p></main>"
    )
    view, events = opened(page, lambda text: text.replace("</main>", attack))
    view.get_by_text("here", exact=True).click()
    assert view.evaluate("typeof window.hit") == "undefined"
    assert len([event for event in events if "Content Security Policy" in event]) >= 3


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_stands_out_of_the_page(opened, page, width):
    view, events = opened(page, viewport={"width": width, "height": 800})
    view.evaluate(OPEN)
    assert view.evaluate("document.documentElement.scrollWidth") == width and events == []


@pytest.mark.slow
def test_a_large_study_stays_small_and_opens_at_once(browser, tmp_path):
    arms = {"standard": "baseline"} | {f"arm-{i}": FAMILIES[1 + i % 5] for i in range(29)}
    recipes = ("textfooler", "deepwordbug", "pwws", "bae")
    write_report(
        make_summary(arms=arms, recipes=recipes, seeds=5, examples=20, cross=("imdb", "yelp"), tops=30),
        tmp_path / "report.html",
    )
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    start = time.perf_counter()
    page, events = watched(browser, tmp_path / "report.html")
    page.locator("#figure-count", has_text="of").wait_for()
    assert time.perf_counter() - start < 6  # below two seconds on a machine with nothing else to do
    page.close()
    assert events == []


# the command


@pytest.fixture
def study(monkeypatch, tmp_path, summary):
    """A folder that is summarised as `summary`, whatever is in it."""
    half = dataclasses.replace(summary, missing=("sst2: pgd, seed 0: train",))
    folder = tmp_path / "studies" / "sst2-families"
    folder.mkdir(parents=True)
    parts = {
        "plan": {"folder_of": lambda path: folder},
        "summarise": {"summarise": lambda path: half if path == folder else None},
        "tables": {"tables": lambda found, format: f"{format} of {found.name}\n"},
    }
    for name, members in parts.items():
        monkeypatch.setitem(sys.modules, f"sparring.study.{name}", SimpleNamespace(**members))
    return folder


def test_the_command_writes_the_page_and_says_the_answers(study, summary, capsys):
    code, out, err = sparring("report", study, capsys=capsys)
    assert code == 0 and "report.html" in out and summary.questions[0].answer.split(":")[0] in out
    assert "1 job is missing" in err and (study / "report.html").read_text("utf-8").startswith("<!doctype html>")
    code, out, _ = sparring("report", study / "study.yaml", "--output", study / "x.html", "--json", capsys=capsys)
    found = json.loads(out)
    assert code == 0 and found["file"].endswith("x.html") and found["bytes"] == (study / "x.html").stat().st_size
    assert [q["verdict"] for q in found["questions"]] == ["confirmed", "open", "refuted"]
    assert len(found["claims"]) == len(summary.claims) and found["missing"] == ["sst2: pgd, seed 0: train"]


def test_the_command_gives_tables_to_the_terminal_or_a_file(study, capsys):
    assert sparring("report", study, "--format", "md", capsys=capsys)[:2] == (0, "md of sst2-families\n")
    code, out, _ = sparring("report", study, "--format", "tex", "--output", study / "t.tex", capsys=capsys)
    assert code == 0 and "t.tex" in out and (study / "t.tex").read_text("utf-8") == "tex of sst2-families\n"
    assert not (study / "report.html").exists()
    code, _, err = sparring("report", study, "--output", study / "nowhere" / "x.html", capsys=capsys)
    assert code == 2 and "cannot write" in err
    assert sparring("report", study, "--format", "pdf", capsys=capsys)[0] == 2
