"""Models and datasets of the hub, by name: workers within walls get them, and reach nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import hf_models, hub

from w2s_bench.referee import confinement


@pytest.mark.skipif(confinement.abi() < confinement.WHOLE, reason="this kernel lacks some of the walls")
def test_a_model_and_a_dataset_of_the_hub_reach_confined_workers(tmp_path):
    hf_models.make(tmp_path / "hub" / "models" / "acme" / "tiny", "bert")
    folder = tmp_path / "hub" / "datasets" / "acme" / "words" / "data"
    folder.mkdir(parents=True)
    rows = pa.Table.from_pylist([{"text": f"w{i % 50} w{i % 7} w{i % 11}", "label": i % 2} for i in range(400)])
    pq.write_table(rows, folder / "train-00000-of-00001.parquet")
    places = {"HF_HOME": str(tmp_path / "home"), "W2S_CACHE": str(tmp_path / "cache"), "W2S_PLUGINS": ""}
    sizes = [
        f"task.n_{split}={n}" for split, n in (("supervision", 80), ("transfer", 64), ("validation", 20), ("test", 40))
    ]
    command = [
        sys.executable, "-m", "w2s_bench", "run", "task=table", "task.path=acme/words", "supervisor=[tfidf]",
        "student=hf", "student.model=acme/tiny", "engine.confine=required", *sizes,
    ]  # fmt: skip
    with hub.serve(tmp_path / "hub") as address:
        environment = os.environ | places | {"HF_ENDPOINT": address, "NO_PROXY": "127.0.0.1"}
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "w2s-runs" / "records").iterdir())
    assert record["provenance"]["confined"] == f"landlock-{confinement.abi()}"
    assert record["provenance"]["backbones"]["student"]["strong"]["revision"] == hub.COMMIT
