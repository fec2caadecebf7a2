"""The table task on dataset folders, on datasets of the hub, and on real files."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from support import hub
from support.tables import ROWS, SMALL, real, table

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import SPLITS, Sizes

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
