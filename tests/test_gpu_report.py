"""The report of what a device does, rehearsed on the CPU at a toy size."""

from __future__ import annotations

import re
import subprocess
import sys

from w2s_bench.studies.speed import SHAPES, WAYS, encode, speed, texts


def test_texts_are_about_as_long_as_boolq():
    lengths = [len(row) for row in encode(list(texts(2000).text))]
    assert 120 < sum(lengths) / len(lengths) < 160 and max(lengths) <= 512


def test_a_way_to_train_is_timed_after_its_first_steps():
    for way in WAYS:
        reached = speed(way, SHAPES["tiny"], "cpu", 2, 8, "32-true")
        assert reached.tokens > 0 and reached.flops > 0


def test_the_report_as_its_user_types_it(tmp_path):
    command = [sys.executable, "-m", "w2s_bench.studies.gpu_report", "--accelerator", "cpu", "--shapes", "tiny"]
    options = ["--steps", "2", "--batch-size", "8", "--precision", "32-true", "--seeds", "1"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Device against CPU: +0.0000. Predictions of two runs on the device: equal." in done.stdout
    assert re.search(r"included\): \d+ a minute", done.stdout)
    assert all(re.search(rf"^\| {way} \| [\d,]+ \| [\d.]+% \|", done.stdout, re.M) for way in WAYS), done.stdout
