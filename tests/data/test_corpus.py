import gzip
import json
import tracemalloc

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from sparring.data import corpus as corpora
from sparring.data import sources
from sparring.data.corpus import Corpus
from sparring.data.sources import Hub
from sparring.errors import DataError, SettingError

PARAGRAPHS = ["One line.", "Two\nlines, of which this is one.", "Über alles: 你好 🎈", "The last"]
TEXT = "\n\n".join(PARAGRAPHS)


def write(path, content):
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix.lower() == ".gz" else data)
    return path


def objects(texts=PARAGRAPHS, field="text"):
    return "".join(json.dumps({"id": i, field: text}) + "\n" for i, text in enumerate(texts))


def table(path, texts=PARAGRAPHS, name="text", group=3):
    parquet.write_table(pyarrow.table({"id": list(range(len(texts))), name: texts}), path, row_group_size=group)
    return path


def texts(corpus, start=None):
    return [text for _, text in corpus.documents(start)]


MAKERS = {
    "a.txt": lambda path: write(path, TEXT),
    "bom.txt": lambda path: write(path, "\ufeff" + TEXT),
    "crlf.txt": lambda path: write(path, TEXT.replace("\n", "\r\n") + "\r\n \r\n\t\r\n"),
    "a.txt.gz": lambda path: write(path, TEXT + "\n"),
    "A.TXT.GZ": lambda path: write(path, TEXT + "\n"),
    "A.JSONL.Gz": lambda path: write(path, objects()),
    "wiki.tokens": lambda path: write(path, "\n \n\n" + TEXT),
    "a.jsonl": lambda path: write(path, objects()),
    "b.jsonl": lambda path: write(path, "\n" + objects().replace("\n", "\n\n") + '{"text": "  "}'),
    "a.ndjson.gz": lambda path: write(path, objects()),
    "a.parquet": table,
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_format_gives_the_same_documents_and_goes_on_from_any_place(tmp_path, name):
    corpus = Corpus.open(MAKERS[name](tmp_path / name))
    found = list(corpus.documents())
    assert [text.replace("\r", "") for _, text in found] == PARAGRAPHS
    for number, (place, _) in enumerate(found):
        assert texts(corpus, json.loads(json.dumps(place))) == [text for _, text in found[number + 1 :]]
    assert corpus.bad_count == 0 and corpus.notes == ()


def test_several_files_are_read_side_by_side_in_step_with_their_sizes(tmp_path, monkeypatch):
    write(tmp_path / "a.jsonl", objects([f"a{i:02}" for i in range(20)]))
    write(tmp_path / "b.jsonl", objects([f"b{i:02}" for i in range(10)]))
    table(tmp_path / "c.parquet", [f"c{i:02}" for i in range(5)])
    corpus = Corpus.open(tmp_path)
    found = texts(corpus)
    assert sorted(found) == [f"{c}{i:02}" for c, n in (("a", 20), ("b", 10), ("c", 5)) for i in range(n)]
    for half in (found[:17], found[17:]):
        assert {c: sum(text[0] == c for text in half) for c in "abc"} == pytest.approx(
            {"a": 10, "b": 5, "c": 2.5}, abs=1
        )
    # The same with fewer files open than there are.
    monkeypatch.setattr(corpora, "SIDE_BY_SIDE", 2)
    every = list(corpus.documents())
    assert sorted(text for _, text in every) == sorted(found)
    for number, (place, _) in enumerate(every):
        assert texts(corpus, place) == [text for _, text in every[number + 1 :]]


def test_globs_lists_folders_and_files_name_the_same_corpus(tmp_path):
    inside = tmp_path / ".of a hidden folder" / "in, side"
    (inside / ".cache").mkdir(parents=True)
    write(inside / ".cache" / "old.txt", "what nobody wants to train on")
    for name in ("b.txt", "a.txt", "c.jsonl"):
        write(inside / name, objects() if name == "c.jsonl" else TEXT + name)
    write(inside / "README", "not text")
    write(inside / ".hidden.txt", "not either")
    folder = Corpus.open(inside)
    assert len(texts(folder)) == 12
    assert folder.notes == (
        f"{inside}: 1 files of other kinds than .txt, .jsonl (both also as .gz) or .parquet were left aside",
    )
    assert Corpus.open(str(tmp_path / ".of*" / "**" / "?.*")).digest == folder.digest
    other = tmp_path / "other.txt"
    write(other, TEXT)
    listed = Corpus.open(f"{other},{inside.parent}/in*/a.txt , demo")
    assert [source.name for source in listed.sources] == [str(other), str(inside / "a.txt"), "demo"]
    assert listed.size is None and Corpus.open(other).size == len(TEXT.encode())


def test_the_digest_notices_a_changed_file(tmp_path):
    path = write(tmp_path / "a.txt", "x" * 200_000)
    before = Corpus.open(path).digest
    assert Corpus.open(path).digest == before
    write(path, "x" * 199_999 + "y")
    assert Corpus.open(path).digest != before
    write(path, "x" * 200_001)
    assert Corpus.open(path).digest != before


CORRUPT = (
    b'{"text": "good 1"}\n'
    b'{"text": "broken\n'
    b'{"txt": "other field"}\n'
    b'{"text": 7}\n'
    b'["text"]\n'
    b'{"text": "latin \xe9"}\n'
    b'{"text": "half \\ud800"}\n'
    b'{"text": "good 2"}\n'
)
REASONS = ["not valid JSON", "no field 'text'; it has 'txt'", "holds 7 (int)", "found ['text']", "not UTF-8 (byte 0xe9"]


def test_corrupt_lines_are_counted_once_and_the_first_are_kept(tmp_path):
    path = write(tmp_path / "a.jsonl", CORRUPT)
    corpus = Corpus.open(path)
    found = list(corpus.documents())
    assert [text for _, text in found] == ["good 1", "good 2"]
    assert texts(corpus, found[0][0]) == ["good 2"]
    assert corpus.bad_count == 6
    assert [line.line for line in corpus.bad_lines] == [2, 3, 4, 5, 6]
    assert all(reason in str(line) for reason, line in zip(REASONS, corpus.bad_lines, strict=True))
    assert str(corpus.bad_lines[0]).startswith(f"{path}, line 2: ")


def test_a_resumed_reading_counts_the_corrupt_lines_before_it_too(tmp_path):
    path = write(tmp_path / "a.jsonl", CORRUPT)
    place = list(Corpus.open(path).documents())[-1][0]
    again = Corpus.open(path)
    assert texts(again, place) == [] and again.reader(place).bad == 6
    assert again.bad_count == 6 and [line.line for line in again.bad_lines] == [2, 3, 4, 5, 6]
    # Also in a later pass, in which lines are not counted again.
    place = json.loads(json.dumps(next(iter(again.documents()))[0]))
    last = Corpus.open(path)
    last.reader(place)
    assert last.bad_count == 6 and last.bad_lines == again.bad_lines
    texts(last, place)
    assert last.bad_count == 6


def test_a_long_corrupt_line_counts_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 64)
    path = write(tmp_path / "a.txt", b"one\n" + b"caf\xe9 " * 100 + b"\ntwo\n\n\xff\n\xff" + b" x" * 50)
    corpus = Corpus.open(path)
    found = list(corpus.documents())
    assert [line.line for line in corpus.bad_lines] == [2, 5, 6] and corpus.bad_count == 3
    for number, (place, _) in enumerate(found):
        again = Corpus.open(path)
        assert texts(again, place) == [text for _, text in found[number + 1 :]]
        assert again.bad_count == 3 and again.bad_lines == corpus.bad_lines


def test_corrupt_lines_of_text_end_a_paragraph_and_can_be_fatal(tmp_path):
    path = write(tmp_path / "a.txt", b"one\ntwo\n\xff\xfe\nthree\n\n" + b"x" * 9000 + b"\n\nfour \0\nfive")
    corpus = Corpus.open(path)
    assert texts(corpus) == ["one\ntwo", "three", "x" * 9000, "five"]
    assert [line.line for line in corpus.bad_lines] == [3, 8]
    with pytest.raises(DataError, match=r"a\.txt, line 3: not UTF-8 \(byte 0xff"):
        texts(Corpus.open(path, bad="fail"))
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: not valid JSON"):
        texts(Corpus.open(write(tmp_path / "a.jsonl", CORRUPT), bad="fail"))
    table(tmp_path / "a.parquet", ["a", None, "", "b"])
    with pytest.raises(DataError, match=r"a\.parquet, line 2: 'text' holds None"):
        texts(Corpus.open(tmp_path / "a.parquet", bad="fail"))


def test_a_gzip_file_that_breaks_off_is_read_up_to_there(tmp_path):
    whole = gzip.compress("\n\n".join(str(i) * 50 for i in range(9000)).encode())
    (tmp_path / "a.txt.gz").write_bytes(whole[: len(whole) // 2])
    corpus = Corpus.open(tmp_path / "a.txt.gz")
    found = texts(corpus)
    assert 100 < len(found) < 9000 and corpus.bad_count == 1
    assert "damaged from here on" in corpus.bad_lines[0].reason


@pytest.mark.parametrize("letter", ["x", "é", "你", "🎈"])
@pytest.mark.parametrize("spaced", [True, False])
def test_a_gigantic_line_comes_in_pieces_that_are_cut_at_white_space(tmp_path, monkeypatch, letter, spaced):
    monkeypatch.setattr(sources, "PIECE", 64)
    content = (letter * 7 + (" " if spaced else "")) * 100
    corpus = Corpus.open(write(tmp_path / "a.txt", f"before\n{content}\n\nafter"))
    found = list(corpus.documents())
    pieces = [text for _, text in found]
    assert all(len(text.encode()) <= 64 for text in pieces)
    assert pieces[-1] == "after"
    assert "".join("".join(pieces[:-1]).split()) == "before" + content.replace(" ", "")
    assert all(set(text.split()) <= {letter * 7, "before"} for text in pieces[:-1] if spaced)
    assert corpus.bad_count == 0
    for number, (place, _) in enumerate(found):
        assert texts(corpus, place) == pieces[number + 1 :]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_gigantic_document_comes_in_pieces_from_any_of_which_reading_goes_on(tmp_path, monkeypatch, name):
    monkeypatch.setattr(sources, "PIECE", 64)
    rows = ["before", "word " * 100, "after"]
    path = tmp_path / name
    corpus = Corpus.open(table(path, rows, group=2) if name == "a.parquet" else write(path, objects(rows)))
    found = list(corpus.documents())
    assert "".join(text for _, text in found) == "".join(rows) and len(found) > 9
    for number, (place, _) in enumerate(found):
        assert texts(corpus, place) == [text for _, text in found[number + 1 :]]


def test_a_line_larger_than_memory_may_hold_is_read_in_little(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"word " * 4_000_000)  # 20 MB without a line end
    corpus = Corpus.open(path)
    tracemalloc.start()
    try:
        assert sum(text.count("w") for text in corpus.reader()) == 4_000_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_json_line_beyond_the_limit_is_corrupt(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LONGEST_JSON", 100)
    corpus = Corpus.open(write(tmp_path / "a.jsonl", objects(["good", "x" * 300, "good too"])))
    assert texts(corpus) == ["good", "good too"]
    assert corpus.bad_lines[0].line == 2 and "longer than" in corpus.bad_lines[0].reason


REFUSED = {
    "empty.txt": ("", "the file is empty"),
    "blank.txt": (" \n\n\t", "there is no document in it"),
    "empty.jsonl": ("\n\n", "there is no document in it"),
    "field.jsonl": (
        objects(field="body") * 2,
        r"8 corrupt lines, the first: .*line 1: no field 'text'; it has .*'body'",
    ),
    "binary.txt": (b"MZ\x90\x00\x03", "a binary file .NUL at byte 3"),
    "binary.txt.gz": (b"MZ\x90\x00\x03", "a binary file"),
    "wide.txt": ("text".encode("utf-16"), "iconv"),
    "a.csv": ("text,label\na,b\n", "Convert it"),
    "a.pkl": (b"x", "Convert it"),
    "damaged.parquet": (b"PAR1nothing", "not a readable parquet file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_text_is_refused_by_name(tmp_path, name):
    content, words = REFUSED[name]
    with pytest.raises(DataError, match=words) as caught:
        Corpus.open(write(tmp_path / name, content))
    assert str(tmp_path / name) in str(caught.value)


def test_a_name_that_stands_for_nothing_is_refused(tmp_path):
    write(tmp_path / "reviews.txt", TEXT)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "plain.txt.gz", "").write_bytes(b"not compressed")
    cases = {
        "review.txt": "no such file or folder. Did you mean 'reviews.txt'",
        "*.jsonl": "no file matches",
        "empty": "it holds nothing",
        "plain.txt.gz": "not a gzip file",
    }
    for name, words in cases.items():
        with pytest.raises(DataError, match=words.replace("*", r"\*")):
            Corpus.open(str(tmp_path / name))
    with pytest.raises(DataError, match="No corpus named"):
        Corpus.open(" ")
    with pytest.raises(SettingError, match="'ignore' is not known"):
        Corpus.open("demo", bad="ignore")


def test_a_long_list_of_files_is_read_and_a_name_too_long_for_a_file_refused(tmp_path):
    names = [str(write(tmp_path / f"{letter * 60}.txt", TEXT + letter)) for letter in "abcdefgh"]
    assert len(Corpus.open(",".join(names * 9)).sources) == 72
    with pytest.raises(DataError, match=r"zzz\.txt: cannot be read \("):
        Corpus.open(f"{names[0]},{tmp_path / ('z' * 5000)}.txt")
    with pytest.raises(DataError, match=r"~nobody-of-this-name/a\.txt: cannot be read \("):
        Corpus.open("~nobody-of-this-name/a.txt")


def test_another_field_can_be_named(tmp_path):
    assert texts(Corpus.open(write(tmp_path / "a.jsonl", objects(field="body")), field="body")) == PARAGRAPHS
    path = table(tmp_path / "a.parquet", name="body")
    assert texts(Corpus.open(path, field="body")) == PARAGRAPHS
    with pytest.raises(DataError, match="no column 'text'; it has 'id', 'body'"):
        Corpus.open(path)
    with pytest.raises(DataError, match="'id' holds int64, not strings"):
        Corpus.open(path, field="id")


def test_every_so_manieth_document_can_be_held_out():
    whole = Corpus.open("demo")
    rest, held = whole.without_every(10), whole.only_every(10)
    every = texts(whole)
    assert texts(held) == every[9::10]
    assert sorted(texts(rest) + texts(held)) == sorted(every)
    assert len({whole.digest, rest.digest, held.digest}) == 3
    place = list(rest.documents())[20][0]
    assert texts(rest, place) == texts(rest)[21:]
    with pytest.raises(SettingError):
        whole.only_every(1)


class TestHub:
    @pytest.fixture
    def stream(self, monkeypatch):
        rows = [{"text": text, "id": i} for i, text in enumerate([*PARAGRAPHS, None, "", "word " * 30] * 40)]

        def load(name, config=None, *, split, streaming=False):
            assert (name, config, split) == ("owner/name", "plain", "train")
            return datasets.Dataset.from_list(rows).to_iterable_dataset(num_shards=3)

        monkeypatch.setattr(datasets, "load_dataset", load)
        monkeypatch.setattr(sources, "PIECE", 64)
        return "hub:owner/name:plain"

    def test_a_data_set_is_streamed_and_goes_on_from_any_place(self, stream):
        corpus = Corpus.open(stream)
        found = list(corpus.documents())
        assert len(found) == 40 * 7 and corpus.bad_count == 40
        for number in (0, 5, 6, 7, 62, 63, 64, 130, 200, 279):
            place = json.loads(json.dumps(found[number][0]))
            assert texts(Corpus.open(stream), place) == [text for _, text in found[number + 1 :]]
        assert texts(corpus) == [text for _, text in found]

    def test_two_readers_of_a_stream_do_not_disturb_each_other(self, stream):
        corpus = Corpus.open(stream)
        pairs = list(zip(corpus.reader(), corpus.reader(), strict=True))
        assert len(pairs) == 280 and all(one == two for one, two in pairs)

    def test_a_column_that_does_not_exist_is_named(self, stream):
        with pytest.raises(DataError, match="no column 'body' with texts; it has 'text'"):
            Corpus.open(stream, field="body")

    def test_the_local_cache_serves_where_the_hub_cannot_be_reached(self, monkeypatch):
        def load(name, config=None, *, split, streaming=False):
            if streaming:
                raise ConnectionError("no network")
            return datasets.Dataset.from_dict({"sentence": PARAGRAPHS})

        monkeypatch.setattr(datasets, "load_dataset", load)
        corpus = Corpus.open("hub:wikitext")
        found = list(corpus.documents())
        assert [text for _, text in found] == PARAGRAPHS
        assert texts(corpus, found[1][0]) == PARAGRAPHS[2:]

    @pytest.mark.parametrize("begun_online", [True, False])
    def test_a_reading_begun_with_the_cache_goes_on_with_the_hub_and_the_other_way_round(self, begun_online):
        data = datasets.Dataset.from_dict({"text": [f"row {i}" for i in range(300)]})
        online = Hub("hub:x", data.to_iterable_dataset(num_shards=3), "text", 300)
        cached = Hub("hub:x", data, "text", 300, streamed=False)
        first, second = (online, cached) if begun_online else (cached, online)
        places = list(Corpus("x", [first]).documents())
        for number in (0, 63, 64, 150, 298):
            again = list(Corpus("x", [second]).documents(json.loads(json.dumps(places[number][0]))))
            assert [text for _, text in again] == [f"row {i}" for i in range(number + 1, 300)]
            back = again[(299 - number) // 2]
            assert texts(Corpus("x", [first]), back[0])[:1] == [f"row {int(back[1][4:]) + 1}"][: 299 - int(back[1][4:])]

    def test_a_data_set_with_several_configurations_names_them(self, monkeypatch):
        def load(*args, **kwargs):
            raise ValueError(
                "Config name is missing.\nPlease pick one among the available configs: ['a', 'b']\nExample"
            )

        monkeypatch.setattr(datasets, "load_dataset", load)
        with pytest.raises(DataError, match=r"Config name is missing\. .*\['a', 'b'\]"):
            texts(Corpus.open("hub:x"))

    @pytest.mark.parametrize("good_rows", [0, 70])
    @pytest.mark.parametrize("known", [True, False])
    def test_whatever_breaks_while_a_stream_is_read_is_one_clear_message(self, monkeypatch, good_rows, known):
        def rows():
            yield from ({"text": f"row {i}"} for i in range(good_rows))
            raise RuntimeError("503 of the server\nand a long story")

        features = datasets.Features({"text": datasets.Value("string")}) if known else None
        broken = datasets.IterableDataset.from_generator(rows, features=features)
        monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: broken)
        with pytest.raises(DataError, match=r"hub:x: the data set cannot be read .*503 of the server\)"):
            texts(Corpus.open("hub:x"))

    def test_an_unreachable_hub_says_how_to_use_a_local_copy(self, monkeypatch):
        def load(*args, **kwargs):
            raise ConnectionError("no network")

        monkeypatch.setattr(datasets, "load_dataset", load)
        with pytest.raises(DataError, match=r"the hub cannot be reached.*name a local copy"):
            Corpus.open("hub:wikitext:wikitext-103-raw-v1")
        with pytest.raises(DataError, match="write hub:NAME"):
            Corpus.open("hub:a/b/c")
