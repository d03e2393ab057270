import csv
import gzip
import hashlib
import json
import lzma
import time
from pathlib import Path

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from sparring.data.load import Examples, load
from sparring.data.tasks import TASKS
from sparring.errors import DataError, SettingError

ROWS = [("a fine film", "pos"), ("a dull film", "neg"), ('it said "go", we went', "pos"), ("two\nlines", "neg")]


def csv_text(rows, header=("text", "label"), delimiter=","):
    quote = lambda cell: '"' + cell.replace('"', '""') + '"'  # noqa: E731
    return "\n".join(delimiter.join(map(quote, row)) for row in [header, *rows]) + "\n"


def objects():
    return [{"text": text, "label": label} for text, label in ROWS]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


FORMATS = {
    "a.csv": lambda: csv_text(ROWS).encode(),
    "bom.csv": lambda: b"\xef\xbb\xbf" + csv_text(ROWS).encode(),
    "crlf.csv": lambda: csv_text(ROWS).replace("\n", "\r\n").replace("two\r\n", "two\n").encode(),
    "a.tsv": lambda: csv_text(ROWS, delimiter="\t").encode(),
    "a.jsonl": lambda: "\n".join(map(json.dumps, objects())).encode(),
    "a.ndjson": lambda: "\n\n".join(map(json.dumps, objects())).encode(),
    "lines.json": lambda: "\n".join(map(json.dumps, objects())).encode(),
    "a.json": lambda: json.dumps(objects(), indent=1).encode(),
    "a.csv.gz": lambda: gzip.compress(csv_text(ROWS).encode()),
    "a.tsv.xz": lambda: lzma.compress(csv_text(ROWS, delimiter="\t").encode()),
    "a.jsonl.gz": lambda: gzip.compress("\n".join(map(json.dumps, objects())).encode()),
    "a.json.xz": lambda: lzma.compress(json.dumps(objects()).encode()),
    "UPPER.CSV": lambda: csv_text(ROWS).encode(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_text_format_gives_the_same_examples(tmp_path, name):
    data = load(write(tmp_path, name, FORMATS[name]()))
    assert data.texts == tuple((text,) for text, _ in ROWS)
    assert data.label_names == ("neg", "pos")
    assert data.labels == (1, 0, 1, 0)
    assert data.metric == "accuracy" and not data.is_regression
    assert data.digest == load(write(tmp_path, "same.csv", csv_text(ROWS))).digest


def test_parquet_gives_the_same_examples(tmp_path):
    parquet.write_table(pyarrow.Table.from_pylist(objects()), tmp_path / "a.parquet")
    data = load(tmp_path / "a.parquet")
    assert data.labels == (1, 0, 1, 0)
    assert data.digest == load(write(tmp_path, "same.csv", csv_text(ROWS))).digest


def test_a_damaged_parquet_file_gives_a_message(tmp_path):
    parquet.write_table(pyarrow.Table.from_pylist(objects()), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    for damaged in (data[:-4], data[: len(data) // 2] + data[-8:], data[:20] + b"\xff" * 30 + data[50:]):
        with pytest.raises(DataError, match=r"a\.parquet: not a readable parquet file"):
            load(write(tmp_path, "a.parquet", damaged))


def saved(names=("neg", "pos"), rows=((0, "a"), (1, "b"), (1, "c"))) -> datasets.Dataset:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))})
    return datasets.Dataset.from_dict({"text": [text for _, text in rows], "label": [n for n, _ in rows]}, features)


def test_parquet_written_by_datasets_keeps_its_class_names(tmp_path):
    saved(("good", "bad")).to_parquet(tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").label_names == ("good", "bad")


def test_a_folder_saved_with_datasets_is_read_split_by_split_with_its_class_names(tmp_path):
    dev = saved(rows=((1, "x"), (0, "y")))
    datasets.DatasetDict({"train": saved(), "validation": dev}).save_to_disk(tmp_path / "d")
    train = load(tmp_path / "d")
    assert train.label_names == ("neg", "pos") and train.labels == (0, 1, 1)
    assert load(tmp_path / "d", split="dev", like=train).labels == (1, 0)
    with pytest.raises(DataError, match=r"no split 'test'; it has 'train', 'validation'"):
        load(tmp_path / "d", split="test")


def test_a_single_saved_dataset_is_read_whatever_the_split(tmp_path):
    saved().save_to_disk(tmp_path / "d")
    assert load(tmp_path / "d", split="dev").labels == (0, 1, 1)


def test_a_damaged_saved_folder_gives_a_message(tmp_path):
    saved().save_to_disk(tmp_path / "d")
    (tmp_path / "d" / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "d")


# name, content, load options, what the message must contain
TWO = 'text,label\n"a b",x\n"c d",y\n'
BAD = {
    "empty file": ("a.csv", "", {}, ["a.csv", "empty"]),
    "blank file": ("a.csv", " \n\n", {}, ["a.csv", "empty"]),
    "only a byte order mark": ("a.csv", b"\xef\xbb\xbf", {}, ["a.csv", "empty"]),
    "header only": ("a.csv", "text,label\n", {}, ["a.csv", "no rows"]),
    "empty list": ("a.json", "[]", {}, ["a.json", "no rows"]),
    "unknown suffix": ("a.txt", TWO, {}, ["a.txt", "csv, tsv, jsonl"]),
    "pickle": ("a.pkl", b"\x80\x04.", {}, ["a.pkl", "never read"]),
    "gzip without the suffix": ("a.csv", gzip.compress(TWO.encode()), {}, ["a.csv", "gzip", "Rename"]),
    "cut gzip": ("a.csv.gz", gzip.compress(TWO.encode())[:-6], {}, ["a.csv.gz", ".gz", "Copy it again"]),
    "not xz": ("a.csv.xz", TWO, {}, ["a.csv.xz", "unpack"]),
    "not parquet": ("a.parquet", TWO * 9, {}, ["a.parquet", "not a readable parquet file"]),
    "missing text column": ("a.csv", TWO, {"text": ["txt"]}, ["a.csv", "'txt'", "'text', 'label'", "mean 'text'"]),
    "missing label column": ("a.csv", TWO, {"label": "lable"}, ["'lable'", "'text', 'label'", "mean 'label'"]),
    "no label column": ("a.csv", "text,a,b\nx y,1,2\n", {}, ["a.csv", "no label column", "'a', 'b'", "`label`"]),
    "no text column": ("a.csv", "p,q,label\n1,2,x\n3,4,y\n", {}, ["a.csv", "'p', 'q', 'label'", "`text`"]),
    "all different": (
        "a.csv",
        "text,label\n" + "".join(f"text {i},user{i}\n" for i in range(21)),
        {},
        ["a.csv", "no two of the 21 rows have the same label in 'label'", "Name the column of the labels"],
    ),
    "one class": ("a.csv", "text,label\na,x\nb,x\n", {}, ["a.csv", "'x'", "two classes"]),
    "ragged row": ("a.csv", 'text,label\n"a\nb",x\nc,d,y\n', {}, ["a.csv, line 4", "2 fields", "3 found", "Quote"]),
    "short row": ("a.tsv", "text\tlabel\na\tx\nb\n", {}, ["a.tsv, line 3", "2 fields", "1 found"]),
    "open quote": ("a.csv", 'text,label\na,x\n"b,y\nc,x\n', {}, ["a.csv, line 3", "quote marks"]),
    "text after a quote": ("a.csv", 'text,label\n"a"b,x\n', {}, ["a.csv, line 2", "double"]),
    "semicolons": ("a.csv", "text;label\na;x\n", {}, ["a.csv", "';'", "commas"]),
    "two columns of one name": ("a.csv", "text,text,label\na,b,x\n", {}, ["a.csv", "'text'", "Rename"]),
    "header twice": ("a.csv", TWO + TWO, {}, ["a.csv, line 4", "header line again"]),
    "no header, label repeated": ("a.csv", "nice one,pos\nbad one,neg\nso so,pos\n", {}, ["line 1", "'pos'", "header"]),
    "no header, number": ("a.tsv", "nice one\t1\nbad one\t0\n", {}, ["a.tsv, line 1", "'1'", "text,label"]),
    "no header, long text": (
        "a.csv",
        "I liked this very much,p\nno,n\n",
        {},
        ["line 1", "reads like a text", "header"],
    ),
    "empty label": ("a.csv", "text,label\na,x\nb,\nc,y\nd, \n", {}, ["a.csv, line 3", "2 rows: lines 3, 5", "missing"]),
    "NaN label": ("a.csv", "text,label\na,1\nb,NaN\n", {}, ["a.csv, line 3", "'NaN'", "1 row: line 3"]),
    "null label": ("a.jsonl", '{"text":"a","label":1}\n{"text":"b","label":null}', {}, ["a.jsonl, line 2", "None"]),
    "no label key": ("a.jsonl", '{"text":"a","label":1}\n{"text":"b"}', {}, ["a.jsonl, line 2", "missing"]),
    "NaN target": ("a.jsonl", '{"text":"a","label":1.5}\n{"text":"b","label":NaN}', {}, ["a.jsonl, line 2", "nan"]),
    "infinite target": ("a.csv", "text,label\na,1.5\nb,inf\n", {}, ["a.csv, line 3", "'inf'", "not finite"]),
    "huge integer": ("a.jsonl", '{"text":"a","label":1' + "0" * 400 + "}", {}, ["a.jsonl, line 1", "not finite"]),
    "words and numbers": ("a.csv", "text,label\na,1\nb,good\n", {}, ["a.csv, line 3", "'good'", "line 2", "one way"]),
    "list as label": ("a.jsonl", '{"text":"a","label":[1,2]}', {}, ["a.jsonl, line 1", "[1, 2]", "list"]),
    "number as text": ("a.jsonl", '{"text":"a","label":1}\n{"text":5,"label":0}', {}, ["line 2", "5", "int", "`text`"]),
    "empty text": ("a.csv", "text,label\na,x\n  ,y\n,x\n", {}, ["a.csv, line 3", "2 rows: lines 3, 4", "empty"]),
    "half a pair": ("a.csv", "premise,hypothesis,label\na,b,x\nc,,y\n", {}, ["line 3", "'hypothesis'", "one side"]),
    "repeated id": ("a.csv", "id,text,label\n7,a,x\n8,b,y\n7,c,y\n", {}, ["a.csv, line 4", "'7'", "line 2"]),
    "latin-1": ("a.csv", "text,label\nok,x\ncafé,y\n".encode("latin-1"), {}, ["line 3", "0xe9", "byte 19", "iconv"]),
    "utf-16": ("a.csv", TWO.encode("utf-16"), {}, ["a.csv", "UTF-16", "iconv"]),
    "utf-16 without a mark": ("a.csv", TWO.encode("utf-16-le"), {}, ["a.csv", "UTF-16"]),
    "NUL byte": ("a.csv", TWO + "a\0b,x\n", {}, ["a.csv, line 4", "NUL"]),
    "broken JSON": ("a.jsonl", '{"text":"a","label":1}\n\n{"text":\n', {}, ["a.jsonl, line 3", "not valid JSON"]),
    "deep JSON": ("a.jsonl", "[" * 100_000, {}, ["a.jsonl, line 1", "not valid JSON"]),
    "list in a jsonl": ("a.jsonl", "[1]", {}, ["a.jsonl, line 1", "{...}", ".json file"]),
    "broken list": ("a.json", '[{"text":"a"},\n{]', {}, ["a.json, line 2", "not valid JSON"]),
    "word in a list": ("a.json", '[{"text":"a","label":1}, "b"]', {}, ["a.json, item 2", "'b'", '"text"']),
    "half a character": ("a.jsonl", '{"text":"a\\ud800","label":1}', {}, ["a.jsonl, line 1", "surrogate"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_with_file_row_and_way_out(tmp_path, case):
    name, content, options, expected = BAD[case]
    with pytest.raises(DataError) as caught:
        load(write(tmp_path, name, content), **options)
    message = str(caught.value)
    assert all(part in message for part in [str(tmp_path), *expected]), message
    assert message.isprintable(), message
    assert caught.value.__cause__ is None and (caught.value.__suppress_context__ or not caught.value.__context__)


def test_a_ragged_csv_names_the_line_and_the_field_counts(tmp_path):
    path = write(tmp_path, "a.csv", TWO + "one, two,x\n")
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}, line 4: 2 fields expected (as in the first line), 3 found. "
        "Quote a text that contains ',', or add the missing field."
    )


def test_a_missing_file_suggests_a_near_name(tmp_path):
    write(tmp_path, "train.csv", TWO)
    with pytest.raises(DataError, match=r"trian\.csv: there is no such file\. Did you mean 'train\.csv'"):
        load(tmp_path / "trian.csv")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        load(tmp_path / "nowhere" / "train.csv")


def test_a_folder_that_is_no_data_set_lists_its_files(tmp_path):
    write(tmp_path, "train.csv", TWO)
    with pytest.raises(DataError, match=r"save_to_disk; it holds 'train\.csv'"):
        load(tmp_path)


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"a\.csv: no permission"):
        load(write(tmp_path, "a.csv", TWO))


def test_a_label_unseen_in_training_names_the_row_and_the_known_labels(tmp_path):
    train = load(write(tmp_path, "train.csv", TWO))
    dev = write(tmp_path, "dev.csv", "text,label\na,x\nb,z\n")
    with pytest.raises(DataError) as caught:
        load(dev, split="dev", like=train)
    assert f"{dev}, line 3" in str(caught.value) and "'z'" in str(caught.value) and "'x', 'y'" in str(caught.value)


def test_dev_data_takes_the_class_numbers_of_the_training_data(tmp_path):
    train = load(write(tmp_path, "train.csv", TWO))
    dev = load(write(tmp_path, "dev.csv", "text,label\na,y\n"), split="dev", like=train)
    assert dev.labels == (1,) and dev.label_names == ("x", "y")


def test_pairs_in_training_and_single_texts_in_dev_do_not_go_together(tmp_path):
    train = load(write(tmp_path, "train.csv", "premise,hypothesis,label\na,b,x\nc,d,y\n"))
    with pytest.raises(DataError, match="the training data has pairs of texts, this has not"):
        load(write(tmp_path, "dev.csv", TWO), split="dev", like=train)


def test_words_are_no_labels_for_a_regression(tmp_path):
    train = load(write(tmp_path, "train.csv", "text,score\na,1.5\nb,2\n"))
    with pytest.raises(DataError, match=r"dev\.csv, line 2: the label 'x' is a word, but a regression needs numbers"):
        load(write(tmp_path, "dev.csv", TWO), split="dev", like=train)


def test_decimals_make_a_regression_and_whole_dev_values_stay_one(tmp_path):
    train = load(write(tmp_path, "train.csv", "text,score\na,1.5\nb,2\n"))
    assert train.is_regression and train.labels == (1.5, 2.0) and train.label_names == () and train.metric == "pearson"
    assert any("regression" in note for note in train.notes)
    dev = load(write(tmp_path, "dev.csv", "text,score\na,1\nb,2\n"), split="dev", like=train)
    assert dev.labels == (1.0, 2.0)


def test_whole_numbers_are_classes_in_the_order_of_numbers(tmp_path):
    rows = "".join(f"t{n},{n}\n" for n in (10, 2, 1))
    assert load(write(tmp_path, "a.csv", "text,label\n" + rows)).label_names == ("1", "2", "10")
    assert load(write(tmp_path, "b.csv", "text,label\na,0.0\nb,1.0\n")).label_names == ("0", "1")


def test_json_booleans_are_classes(tmp_path):
    data = load(write(tmp_path, "a.jsonl", '{"text":"a","label":true}\n{"text":"b","label":false}'))
    assert data.label_names == ("false", "true") and data.labels == (1, 0)


@pytest.mark.parametrize(
    ("header", "row", "texts", "label"),
    [
        ("sentence,label", "a b,{}", "text column: 'sentence' (inferred)", "label"),
        ("Review,Sentiment", "a b,{}", "text column: 'Review' (inferred)", "Sentiment"),
        (
            "idx,sentence1,sentence2,label",
            "{0}1,a b,c d,{0}",
            "text columns: 'sentence1' and 'sentence2' (inferred)",
            "label",
        ),
        (
            "premise,hypothesis,gold_label",
            "a,b,{}",
            "text columns: 'premise' and 'hypothesis' (inferred)",
            "gold_label",
        ),
        ("question,passage,answer_ok", "a,b,{}", "text columns: 'question' and 'passage' (inferred)", "answer_ok"),
        (",satz,klasse", "0,ein Satz,{}", "text column: 'satz' (inferred)", "klasse"),
        ("n,satz,label", "5,Wort,{}", "text column: 'satz' (inferred)", "label"),
    ],
)
def test_the_columns_are_inferred_and_the_notes_say_so(tmp_path, header, row, texts, label):
    data = load(write(tmp_path, "a.csv", "\n".join([header, row.format("x"), row.format("y")])))
    assert texts in data.notes
    assert f"label column: '{label}' (inferred)" in data.notes
    assert data.label_names == ("x", "y")


def test_named_columns_are_used_and_not_called_inferred(tmp_path):
    path = write(tmp_path, "a.csv", "text,other,label,kind\na,b,x,1\nc,d,y,2\n")
    data = load(path, text=["other"], label="kind")
    assert data.texts == (("b",), ("d",)) and data.label_names == ("1", "2")
    assert not any("inferred" in note for note in data.notes)
    assert "columns not used: 'text', 'label'" in data.notes
    assert load(path, text=["text", "other"]).texts[0] == ("a", "b")


def test_a_header_that_looks_like_a_row_is_accepted_when_its_columns_are_named(tmp_path):
    assert load(write(tmp_path, "a.csv", "0,1\na,x\nb,y\n"), text=["0"], label="1").label_names == ("x", "y")


def test_named_text_columns_that_make_no_sense_are_setting_errors(tmp_path):
    path = write(tmp_path, "a.csv", TWO)
    for options in ({"text": ["a", "b", "c"]}, {"text": ["text"], "label": "text"}, {"limit": 0}):
        with pytest.raises(SettingError):
            load(path, **options)


def test_quote_marks_in_a_tsv_are_characters_when_reading_them_as_syntax_loses_rows(tmp_path):
    data = load(write(tmp_path, "a.tsv", 'text\tlabel\n"good\tx\nbad"\ty\n'))
    assert data.texts == (('"good',), ('bad"',))
    assert any("quote marks" in note for note in data.notes)


def test_emoji_only_and_right_to_left_texts_are_fine(tmp_path):
    assert load(write(tmp_path, "a.csv", "text,label\n🙂🙂,x\nשלום,y\n")).texts == (("🙂🙂",), ("שלום",))


def test_a_text_of_a_megabyte_is_kept_and_noted(tmp_path):
    data = load(write(tmp_path, "a.csv", "text,label\n" + "w " * 500_000 + ",x\nb,y\n"))
    assert len(data.texts[0][0]) == 1_000_000
    assert any("1000000 characters (line 2)" in note for note in data.notes)
    assert csv.field_size_limit() == 131_072


def test_messages_show_hostile_strings_escaped_and_cut(tmp_path):
    hostile = "\x1b[31mred\x07\u202e" + "x" * 500
    path = write(
        tmp_path, "a.jsonl", json.dumps({"text": "a", "label": 1}) + "\n" + json.dumps({"text": "b", "label": hostile})
    )
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert "\\x1b[31mred\\x07\\u202e" in message and message.isprintable()
    assert "x" * 61 not in message


def test_hostile_file_and_column_names_do_not_reach_the_terminal_either(tmp_path):
    for name, content in (("a\x1b[0m.csv", "a\x1b,b\x1b,c\nx,y,z\n"), ("b\x07.txt", "x"), ("c\x1b.csv", "")):
        with pytest.raises(DataError) as caught:
            load(write(tmp_path, name, content))
        assert str(caught.value).isprintable()
    with pytest.raises(DataError) as caught:
        load("hub:\x1b")
    assert str(caught.value).isprintable()


def test_unlabelled_data_is_accepted_when_labels_are_not_required(tmp_path):
    train = load(write(tmp_path, "train.csv", TWO))
    for name, content in (("a.csv", "text\na b\nc\n"), ("b.csv", "text,label\na b,\nc,\n")):
        data = load(write(tmp_path, name, content), split="test", like=train, require_labels=False)
        assert data.labels == () and data.label_names == ("x", "y") and len(data.texts) == 2


def test_labels_that_are_there_are_read_even_when_not_required(tmp_path):
    assert load(write(tmp_path, "a.csv", TWO), require_labels=False).labels == (0, 1)


def test_limit_keeps_a_fixed_draw_in_order_also_of_a_sorted_file(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\n" + "".join(f"t{n:03},{n // 50}\n" for n in range(100)))
    data = load(path, limit=20)
    assert len(data.texts) == len(data.labels) == 20 and set(data.labels) == {0, 1}
    assert list(data.texts) == sorted(data.texts) and data == load(path, limit=20)
    assert any(note.startswith("limit: 20 of 100") for note in data.notes)
    assert load(path, limit=1000).texts == load(path).texts


def test_the_digest_is_stable_and_sees_texts_and_labels(tmp_path):
    one = load(write(tmp_path, "a.csv", TWO))
    assert one.digest == hashlib.sha256(b'[[["a b"],["c d"]],["x","y"]]').hexdigest()
    assert load(write(tmp_path, "b.csv", TWO.replace("a b", "a  b"))).digest != one.digest
    assert load(write(tmp_path, "c.csv", TWO.replace("y", "z"))).digest != one.digest
    dev = load(write(tmp_path, "d.csv", "text,label\nq,y\n"), split="dev")
    assert dev.digest == load(tmp_path / "d.csv", split="dev", like=one).digest


def test_the_demo_needs_no_file():
    train = load("demo")
    dev = load("demo", split="dev", like=train)
    assert train.label_names == dev.label_names == ("negative", "positive")
    assert set(train.labels) == {0, 1} and train.origin == "demo"
    with pytest.raises(DataError, match="no split 'x'"):
        load("demo", split="x")


def test_an_unknown_name_suggests_a_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="Did you mean 'sst2'"):
        load("SST-2")
    with pytest.raises(DataError, match="hub:someone/something"):
        load("someone/something")
    with pytest.raises(DataError, match="hub:owner/name"):
        load("hub:nothing")


def hub(monkeypatch, dataset):
    asked = []

    def fake(name, config, split):
        asked.append((name, config, split))
        return dataset if split else datasets.DatasetDict({"train": dataset})

    monkeypatch.setattr(datasets, "load_dataset", fake)
    return asked


def test_unlabelled_rows_of_a_hub_task_are_dropped_and_counted(monkeypatch):
    rows = {"premise": ["a", "b", "c"], "hypothesis": ["d", "e", "f"], "label": [0, -1, 2]}
    asked = hub(monkeypatch, datasets.Dataset.from_dict(rows).cast_column("label", datasets.ClassLabel(num_classes=3)))
    data = load("snli", split="dev")
    assert asked == [("stanfordnlp/snli", None, "validation")]
    assert data.labels == (0, 2) and data.label_names == TASKS["snli"].labels
    assert "1 of 3 rows are unlabelled (-1) and were dropped" in data.notes


def test_a_hub_split_without_labels_is_refused_or_read_as_unlabelled(monkeypatch):
    hub(monkeypatch, saved(rows=((-1, "a"), (-1, "b"))))
    with pytest.raises(DataError, match="no row has a label"):
        load("hub:o/n")
    assert load("hub:o/n", require_labels=False).labels == ()


def test_empty_texts_of_a_hub_task_are_dropped_because_nobody_can_mend_them(monkeypatch):
    hub(monkeypatch, saved(rows=((0, "a"), (1, " "), (1, "b"))))
    data = load("yelp")
    assert data.texts == (("a",), ("b",)) and data.label_names == ("negative", "positive")
    assert "1 of 3 rows have an empty text and were dropped" in data.notes


def test_a_task_brings_its_metric_and_a_split_it_lacks_is_refused(monkeypatch):
    rows = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1.0, 2.0], "idx": [0, 0]}
    hub(monkeypatch, datasets.Dataset.from_dict(rows))
    data = load("stsb")
    assert data.is_regression and data.labels == (1.0, 2.0)
    with pytest.raises(DataError, match=r"imdb: there is no split 'dev'; it has 'train', 'test'"):
        load("imdb", split="dev")


def test_the_hub_out_of_reach_is_one_clear_message(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    for source in ("sst2", "hub:some-owner/some-data"):
        with pytest.raises(DataError, match=r"hub cannot be reached.*name a file of your own, or use demo") as caught:
            load(source)
        assert caught.value.__suppress_context__ and str(caught.value).isprintable()


def test_any_other_failure_of_the_hub_is_one_message_too(monkeypatch):
    def fail(*arguments, **options):
        raise ValueError("Config name is missing.\nPlease pick one")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=r"o/n: .* \(ValueError: Config name is missing\.\)\. Check owner"):
        load("hub:o/n")


@pytest.mark.network
@pytest.mark.parametrize("name", TASKS)
def test_every_task_loads_from_the_hub(name):
    train = load(name, limit=2000)
    assert isinstance(load(name, split="dev" if "dev" in TASKS[name].splits else "test", like=train), Examples)


def test_a_hundred_thousand_csv_rows_load_in_seconds(tmp_path):
    rows = "".join(f'{n},"a film, of sorts, that goes on and on {n}",{n % 2}\n' for n in range(100_000))
    path = write(tmp_path, "a.csv", "id,text,label\n" + rows)
    start = time.perf_counter()
    assert len(load(path).texts) == 100_000
    assert time.perf_counter() - start < 4  # measured 0.3 s; room for a busy machine
