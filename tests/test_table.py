"""The table task: every format, what its columns mean, and what is wrong with values in them."""

import dataclasses
import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from support.tables import ROWS, SMALL, table, write

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import SPLITS, Task
from w2s_bench.plugins.tasks.table import Table

# --- formats


def as_written(path: Path) -> None:
    columns = pa.Table.from_pylist(ROWS)
    name = path.name.removesuffix(".gz")
    plain = path.with_name(name)
    if name.endswith((".csv", ".tsv")):
        delimiter, quotes = ("\t", "none") if name.endswith("tsv") else (",", "needed")
        pa.csv.write_csv(columns, plain, pa.csv.WriteOptions(delimiter=delimiter, quoting_style=quotes))
    elif name.endswith(".parquet"):
        pa.parquet.write_table(columns, plain)
    elif name == "stream.arrow":
        with pa.ipc.new_stream(plain, columns.schema) as writer:
            writer.write_table(columns)
    elif name.endswith(".arrow"):
        pa.feather.write_feather(columns, plain)
    elif name == "list.json":
        plain.write_text(json.dumps(ROWS))
    else:
        write(plain, ROWS)
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))


FORMATS = ["a.jsonl", "a.jsonl.gz", "list.json", "a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz", "a.parquet", "a.parquet.gz"]


@pytest.mark.parametrize("name", [*FORMATS, "a.arrow", "stream.arrow"])
def test_every_format_gives_the_same_task(tmp_path, name):
    as_written(tmp_path / name)
    as_written(tmp_path / "reference.jsonl")
    names, splits = table(tmp_path / name).load(5, SMALL)
    expected_names, expected = table(tmp_path / "reference.jsonl").load(5, SMALL)
    assert names == expected_names == ["0", "1"]
    for split in SPLITS:
        assert splits[split].inputs.text == expected[split].inputs.text
        assert splits[split].inputs.ids == expected[split].inputs.ids
        assert splits[split].truth.tolist() == expected[split].truth.tolist()


def test_csv_keeps_texts_as_written(tmp_path):
    texts = ['he said "no", and\nleft', "007", "1.50", "NA", "true"]
    lines = [f'"{t.replace(chr(34), chr(34) * 2)}",{i % 2}' for i, t in enumerate(texts * 8)]
    path = tmp_path / "quoted.csv"
    path.write_text("\ufefftext,label\n" + "\n".join(lines))
    columns = table(path, balance=False)._rows
    assert columns.text == texts * 8


def test_tsv_takes_quotes_for_letters_unless_its_header_has_them(tmp_path):
    path = tmp_path / "raw.tsv"
    path.write_text("text\tlabel\n" + "".join(f'"unclosed quote {i}\t{i % 2}\n' for i in range(40)))
    assert table(path)._rows.text[3] == '"unclosed quote 3'


# --- what the columns mean


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["neg", "pos"], ["neg", "pos"]),
        ([False, True], ["False", "True"]),
        ([10, 9], ["9", "10"]),
        ([2, 0, 1], ["0", "1", "2"]),
    ],
)
def test_classes_are_sorted_values(tmp_path, labels, names):
    rows = [{"text": f"t{i}", "label": labels[i % len(labels)]} for i in range(90)]
    found, splits = table(write(tmp_path / "l.jsonl", rows)).load(0, SMALL)
    assert found == names
    for split in splits.values():
        for text, truth in zip(split.inputs.text, split.truth, strict=True):
            assert found[truth] == str(labels[int(text[1:]) % len(labels)])


def test_ids_are_unique_stable_and_tell_nothing(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    first, second = (table(path).load(seed, SMALL)[1] for seed in (0, 1))
    ids = {i: t for split in first.values() for i, t in zip(split.inputs.ids, split.inputs.text, strict=True)}
    assert len(ids) == sum(len(split.inputs) for split in first.values())
    assert not any(row["id"] in ids for row in ROWS)
    shared = [(i, t) for s in second.values() for i, t in zip(s.inputs.ids, s.inputs.text, strict=True) if i in ids]
    assert shared and all(ids[i] == t for i, t in shared)


def test_equal_texts_share_a_split(tmp_path):
    rows = [{"text": f"t{i // 4}", "label": i % 2} for i in range(120)]
    _, splits = table(write(tmp_path / "twice.jsonl", rows)).load(0, SMALL)
    seen = [set(split.inputs.text) for split in splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_a_given_test_split_stands_for_every_seed_and_its_texts_are_not_trained_on(tmp_path):
    rows = [{"text": f"t{i % 90}", "label": i % 2, "part": "held" if i < 30 else "train"} for i in range(200)]
    rows.append({"text": "elsewhere", "label": None, "part": "unlabelled"})
    task = table(write(tmp_path / "fixed.jsonl", rows), split="part", test="held")
    first, second = task.load(0, SMALL)[1], task.load(1, SMALL)[1]
    assert task.same_test_for_all_seeds
    assert first["test"].inputs.ids == second["test"].inputs.ids
    assert first["transfer"].inputs.ids != second["transfer"].inputs.ids
    held = {f"t{i}" for i in range(30)}
    assert set(first["test"].inputs.text) <= held
    assert not any(held & set(first[s].inputs.text) for s in SPLITS if s != "test")


def test_drawn_test_splits_are_said_to_differ(tmp_path):
    assert not table(write(tmp_path / "a.jsonl", ROWS)).same_test_for_all_seeds


def test_groups_and_difficulty(tmp_path):
    rows = [{"q": f"t{i}", "y": i % 2, "question": i // 2, "hard": i / 7} for i in range(100)]
    task = table(write(tmp_path / "g.jsonl", rows), text="q", label="y", group="question", difficulty="hard")
    _, splits = task.load(0, SMALL)
    groups = [set(split.group) for split in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for split in splits.values():
        assert split.inputs.difficulty.tolist() == [int(t[1:]) / 7 for t in split.inputs.text]
        assert split.group == [str(int(t[1:]) // 2) for t in split.inputs.text]


def test_chosen_and_rejected_come_in_seeded_order(tmp_path):
    rows = [{"prompt": f"Q{i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(100)]
    task = table(write(tmp_path / "p.jsonl", rows), text="prompt", chosen="chosen", rejected="rejected")
    assert task.kind == "preference" and isinstance(task, Task)
    names, splits = task.load(0, SMALL)
    assert names == ["first", "second"]
    for split in splits.values():
        assert split.truth.sum() == len(split.truth) // 2
        for text, other, truth in zip(split.inputs.text, split.inputs.other, split.truth, strict=True):
            assert text.startswith("Q") and other.startswith("Q")
            assert ("good" in other) == bool(truth) and ("good" in text) != bool(truth)
    by_id = dict(zip(splits["transfer"].inputs.ids, splits["transfer"].truth, strict=True))
    later = task.load(1, SMALL)[1]["transfer"]
    both = [(by_id[i], t) for i, t in zip(later.inputs.ids, later.truth, strict=True) if i in by_id]
    assert any(a != b for a, b in both)


def test_two_candidates_with_a_label(tmp_path):
    rows = [{"a": f"a{i}", "b": f"b{i}", "better": i % 2} for i in range(100)]
    task = table(write(tmp_path / "o.jsonl", rows), text="a", other="b", label="better")
    _, splits = task.load(0, SMALL)
    assert task.kind == "preference"
    assert all(int(o[1:]) % 2 == t for o, t in zip(splits["test"].inputs.other, splits["test"].truth, strict=True))


def test_fingerprint_follows_the_content(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    copy = write(tmp_path / "b.jsonl", ROWS)
    assert table(path).fingerprint() == table(copy).fingerprint()
    write(tmp_path / "b.jsonl", ROWS[1:])
    assert table(path).fingerprint() != table(copy).fingerprint()


@pytest.mark.parametrize("name", [n for n in FORMATS if n not in ("list.json", "a.parquet.gz")])
def test_a_wrong_column_is_found_before_anything_is_read(tmp_path, name):
    as_written(tmp_path / name)
    assert table(tmp_path / name).fingerprint().startswith("sha256:")
    with pytest.raises(UsageError, match=r"no column 'diff' \(task.difficulty\); it has: id, text, label"):
        table(tmp_path / name, difficulty="diff").fingerprint()


def test_the_page_on_tables_names_every_option():
    page = (Path(__file__).parents[1] / "docs" / "tables.md").read_text()
    assert [f.name for f in dataclasses.fields(Table.Options) if not re.search(rf"\btask\.{f.name}\b", page)] == []


# --- bad input: one line that names the file, the place, what was expected and what came

FLOATS = [{"text": f"t{i}", "label": i / 3} for i in range(100)]
MANY = [{"text": f"t{i}", "label": i} for i in range(100)]
MIXED = [{"text": f"t{i}", "label": "x" if i == 7 else 1} for i in range(100)]
BAD = {
    "missing column": (
        ROWS,
        {"text": "txt"},
        UsageError,
        r"no column 'txt' \(task.text\); did you mean 'text'\? it has: id",
    ),
    "floats": (
        FLOATS,
        {},
        W2SError,
        r"line 2: .*expected a class \(a whole number, .*found 0.333\d* \(float\)",
    ),
    "many": (MANY, {}, W2SError, r"100 different values \(0, 1, 2, ...\) are not classes; at most 50"),
    "mixed": (MIXED, {}, W2SError, r"line 8: .*expected a class \(int, as in the first row\), found 'x' \(str\)"),
    "one class": ([{**r, "label": 1} for r in ROWS], {}, W2SError, "only one class, 1"),
    "no label": ([*ROWS, {"id": "z", "text": "x"}], {}, W2SError, "line 101: column 'label'.*found nothing"),
    "text no string": (
        [*ROWS[:9], {"id": 1, "text": 5, "label": 1}],
        {},
        W2SError,
        r"line 10: .*a text or a list of messages, found 5 \(int\)",
    ),
    "text null": ([{"text": None, "label": 1}], {}, W2SError, "line 1: .*a text or a list of messages, found nothing"),
    "text blank": ([{"text": " ", "label": 1}], {}, W2SError, "line 1: .*a text or a list of messages, found ' '"),
    "same id": ([*ROWS, ROWS[3]], {}, W2SError, "id 'r3-1' is in lines 4 and 101; .*task.group=id task.id=row"),
    "difficulty": (ROWS, {"difficulty": "text"}, W2SError, "line 1: .*expected a finite number, found 'text number 0'"),
    "split value": (ROWS, {"split": "label"}, UsageError, r"never says 'train' \(task.train\); found: 0, 1"),
    "half a pair": (ROWS, {"chosen": "text"}, UsageError, "task.chosen and task.rejected go together"),
    "preference label": (
        [{**r, "label": r["label"] + 1} for r in ROWS],
        {"other": "id"},
        W2SError,
        r"has 0 or 1 \(1: 'id' is better\), found: 1, 2",
    ),
    "straddling": (
        [{**r, "split": "test" if i < 30 else "train", "g": f"g{i // 20}"} for i, r in enumerate(ROWS)],
        {"split": "split", "group": "g"},
        UsageError,
        "group 'g1' has examples inside and outside",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_explained(tmp_path, case):
    rows, options, kind, message = BAD[case]
    path = write(tmp_path / "bad.jsonl", rows)
    with pytest.raises(kind, match=message) as caught:
        table(path, **options).load(0, SMALL)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.jsonl", b'{"text": "a", "label": 1}\n\n{"text": "b", "label"\n', r"broken.jsonl, line 3: broken JSON"),
        ("list.jsonl", b'{"text": "a", "label": 1}\n[1]\n', "line 2: expected a JSON object, found list"),
        ("empty.jsonl", b"", "the file is empty"),
        ("blank.jsonl", b"\n\n", "no rows"),
        ("header.csv", b"text,label\n", "no rows"),
        (
            "ragged.csv",
            b"text,label\na,1\nb\n",
            r"line 3: expected 2 columns, as in the header, found 1; .* needs quotes",
        ),
        ("latin.csv", b"text,label\n\xe9\xff,1\n", r"the text is not in utf-8; task.encoding=cp1252 reads it"),
        ("latin.jsonl", b'{"text": "\xe9\xff"}\n', r"the text is not in utf-8; task.encoding=cp1252 reads it"),
        ("cut.jsonl.gz", gzip.compress(b'{"text": "a", "label": 1}\n' * 50, mtime=0)[:40], "cannot be read"),
        ("no.csv.gz", b"text,label\na,1\n", "cannot be read"),
        ("no.parquet", b"text,label\na,1\n", "cannot be read"),
        ("no.arrow", b"text,label\na,1\n", "cannot be read"),
        ("table.xlsx", b"PK", "unknown format .xlsx; known: .csv"),
        ("floats.csv", b"text,label\na,1\nb,0.5\n", r"row 2: .*found 0.5 \(float\)"),
    ],
)
def test_unreadable_files_are_explained(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(W2SError, match=message) as caught:
        table(tmp_path / name).load(0, SMALL)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_explained(tmp_path):
    write(tmp_path / "data.jsonl", ROWS)
    with pytest.raises(UsageError, match=r"no such file; did you mean 'data.jsonl'\?"):
        table(tmp_path / "date.jsonl").load(0, SMALL)
    with pytest.raises(UsageError, match="there is no folder"):
        table(tmp_path / "nowhere" / "date.jsonl").fingerprint()
    with pytest.raises(UsageError, match=r"needs task.path=FILE"):
        Table(Table.Options()).load(0, SMALL)
