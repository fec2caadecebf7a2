"""The table task: every format, every kind of bad input, real files."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from support import hub

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import SPLITS, Sizes, Task
from w2s_bench.plugins.tasks.table import Table

REAL = Path(__file__).parents[2] / "shared" / "data"
SMALL = Sizes(n_supervision=20, n_transfer=20, n_validation=6, n_test=20)
ROWS = [{"id": f"r{i}-{i % 2}", "text": f"text number {i}", "label": i % 2} for i in range(100)]


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def table(path: str | Path, **options) -> Table:
    return Table(Table.Options(path=str(path), **options))


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
        r"line 1: .*expected a class \(a whole number, .*found 0.0 \(float\)",
    ),
    "many": (MANY, {}, W2SError, r"100 different values \(0, 1, 2, ...\) are not classes; at most 50"),
    "mixed": (MIXED, {}, W2SError, r"line 8: .*expected a class \(int, as in the first row\), found 'x' \(str\)"),
    "one class": ([{**r, "label": 1} for r in ROWS], {}, W2SError, "only one class, 1"),
    "no label": ([*ROWS, {"id": "z", "text": "x"}], {}, W2SError, "line 101: column 'label'.*found nothing"),
    "text no string": (
        [*ROWS[:9], {"id": 1, "text": 5, "label": 1}],
        {},
        W2SError,
        r"line 10: .*a text, found 5 \(int\)",
    ),
    "text null": ([{"text": None, "label": 1}], {}, W2SError, "line 1: .*expected a text, found nothing"),
    "text blank": ([{"text": " ", "label": 1}], {}, W2SError, "line 1: .*expected a text, found ' '"),
    "same id": ([*ROWS, ROWS[3]], {}, W2SError, "id 'r3-1' stands in lines 4 and 101; .*task.group=id task.id=row"),
    "difficulty": (ROWS, {"difficulty": "text"}, W2SError, "line 1: .*expected a finite number, found 'text number 0'"),
    "split value": (ROWS, {"split": "label"}, UsageError, r"never says 'train' \(task.train\); found: 0, 1"),
    "half a pair": (ROWS, {"chosen": "text"}, UsageError, "task.chosen and task.rejected go together"),
    "preference label": (
        [{**r, "label": r["label"] + 1} for r in ROWS],
        {"other": "id"},
        W2SError,
        r"holds 0 or 1 \(1: 'id' is better\), found: 1, 2",
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
        ("ragged.csv", b"text,label\na,1\nb\n", "Row #3: Expected 2 columns, got 1"),
        ("latin.csv", b"text,label\n\xe9\xff,1\n", "invalid UTF8"),
        ("latin.jsonl", b'{"text": "\xe9\xff"}\n', "utf-8"),
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


# --- datasets


def test_a_dataset_folder(tmp_path):
    for part, rows in (("train", ROWS), ("test", [{**r, "id": f"t{i}", "text": f"T{i}"} for i, r in enumerate(ROWS)])):
        pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / f"{part}-00000-of-00001.parquet")
    task = table(tmp_path)
    _, splits = task.load(0, SMALL)
    assert task.same_test_for_all_seeds
    assert all(t.startswith("T") for t in splits["test"].inputs.text)
    assert all(t.startswith("t") for t in splits["transfer"].inputs.text)
    assert task.fingerprint().startswith("sha256:")


def test_a_saved_dataset_with_named_classes(tmp_path):
    import datasets

    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    datasets.Dataset.from_list(ROWS, features=features).save_to_disk(tmp_path / "saved")
    assert table(tmp_path / "saved").load(0, SMALL)[0] == ["no", "yes"]
    datasets.Dataset.from_list([*ROWS, {**ROWS[0], "id": "u", "label": -1}], features=features).save_to_disk(
        tmp_path / "unlabelled"
    )
    with pytest.raises(W2SError, match=r"row 101: .*expected a class out of no, yes, found -1"):
        table(tmp_path / "unlabelled").load(0, SMALL)


HUB = """
from w2s_bench.errors import W2SError
from w2s_bench.plugins.tasks.table import Table
from w2s_bench.interfaces import Sizes

def load(**options):
    task = Table(Table.Options(**options))
    names, splits = task.load(0, Sizes(20, 20, 6, 20))
    first = [splits[s].inputs.text[0].split()[0] for s in ("transfer", "test")]
    print(task.fingerprint(), names, *first, task.same_test_for_all_seeds)

for options in OPTIONS:
    try:
        load(**options)
    except W2SError as error:
        print(error)
"""


def on_hub(home: Path, options: list[dict], **env: str) -> list[str]:
    """Returns what was printed for each options by a fresh process, which reads the environment as it is imported."""
    code = HUB.replace("OPTIONS", repr(options))
    full = {**os.environ, "HF_HOME": str(home), **env}
    ran = subprocess.run([sys.executable, "-c", code], env=full, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_a_dataset_of_the_hub(tmp_path):
    folder = tmp_path / "hub" / "datasets" / "acme" / "polarity" / "data"
    folder.mkdir(parents=True)
    for part in ("train", "validation"):
        rows = pa.Table.from_pylist([{"text": f"{part} {i}", "label": i % 2} for i in range(100)])
        pa.parquet.write_table(rows, folder / f"{part}-00000-of-00001.parquet")
    held = {"path": "acme/polarity", "test": "validation"}
    with hub.serve(tmp_path / "hub") as address:
        asked = [held, {**held, "path": "acme/polarty"}, {**held, "revision": "v9"}, {**held, "config": "other"}]
        loaded, name, revision, config = on_hub(tmp_path / "home", asked, HF_ENDPOINT=address)
    assert loaded == f"acme/polarity@{hub.COMMIT} ['0', '1'] train validation True"
    assert "no dataset of that name is found on the Hugging Face hub (404" in name
    assert "no dataset of that name at revision 'v9' is found" in revision
    assert "BuilderConfig 'other' not found. Available: ['default']; is task.config right?" in config
    assert on_hub(tmp_path / "home", [held], HF_HUB_OFFLINE="1") == [loaded]  # out of the cache
    (cold,) = on_hub(tmp_path / "cold", [held], HF_HUB_OFFLINE="1")
    assert "(HF_HUB_OFFLINE is set and the cache has none)" in cold
    assert "first: hf download acme/polarity --repo-type dataset" in cold


# --- real files


def real(name: str) -> Path:
    path = REAL / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"real data not here: {path.name} is looked for in shared/data beside the checkout")
    return path


def test_sst2():
    task = table(real("sst2"), split="split", difficulty="difficulty")
    names, splits = task.load(0, Sizes())
    assert names == ["0", "1"]
    assert {s: len(x.truth) for s, x in splits.items()} == {
        "supervision": 3968,
        "transfer": 3000,
        "validation": 496,
        "test": 1816,
    }
    assert all(x.truth.mean() == 0.5 for x in splits.values())


@pytest.mark.parametrize("name", ["arc", "hellaswag", "snli_binary", "blimp"])
def test_questions_with_several_rows_stay_whole(name):
    _, splits = table(real(name), group="group").load(3, Sizes(1000, 1000, 100, 1000))
    groups = [set(split.group) for split in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert {s: len(x.truth) for s, x in splits.items()} == dict(zip(SPLITS, (1000, 1000, 100, 1000), strict=True))


def test_harmless_preferences():
    task = table(real("hh_harmless_w2s"), text="prompt", chosen="chosen", rejected="rejected", split="split")
    _, splits = task.load(0, Sizes())
    first = splits["transfer"].inputs
    assert first.text[0] != first.other[0]
    prompt = first.text[0].rpartition("Assistant:")[0]
    assert prompt.startswith("Human:") and first.other[0].startswith(prompt)
    assert len(splits["transfer"].truth) == 3000 and splits["transfer"].truth.mean() == 0.5


def test_a_wrong_column_of_a_real_file():
    with pytest.raises(
        UsageError, match=r"did you mean 'question'\? it has: id, question, choices, answer, split, subset"
    ):
        table(real("arc.mc"), text="questions").load(0, SMALL)
