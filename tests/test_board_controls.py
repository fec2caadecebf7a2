"""Controls: who comes out otherwise than expected is named in the head of the board."""

from __future__ import annotations

import json

import pytest
from support.board_records import write_store

from w2s_bench.board import build_board
from w2s_bench.board.render import render


def test_controls_that_misbehave_are_in_the_head(tmp_path):
    write_store(tmp_path, {"naive": 0.4}, seeds=4)
    write_store(tmp_path, {"identity": 0.9}, seeds=4, control=True)
    board = build_board([tmp_path])
    assert board.data["controls"]["checked"] == 1
    assert "identity differs from naive" in board.data["controls"]["misbehaving"][0]
    for format in ("table", "md", "latex", "html"):
        assert "CONTROL MISBEHAVES" in render(board, format)


def test_a_sound_identity_is_said_to_behave(tmp_path):
    write_store(tmp_path, {"naive": 0.4}, seeds=3)
    for path in list((tmp_path / "records").glob("*.json")):
        record = json.loads(path.read_text())
        record["cell"]["mitigations"] = [{"name": "identity"}]
        record |= {"digest": f"{record['cell']['seed']:032d}", "control": True}
        (tmp_path / "records" / f"{record['digest']}.json").write_text(json.dumps(record))
    board = build_board([tmp_path])
    assert board.data["controls"] == {"checked": 1, "misbehaving": []}
    identity = next(r for r in board.data["rows"] if r["mitigation"] == "identity")
    assert identity["over_naive"]["mean"] == 0 and identity["over_naive"]["verdict"] == "no evidence"


@pytest.mark.parametrize(("chance", "sound"), [(0.5, True), (0.9, False)])
def test_random_labels_stay_at_chance(tmp_path, chance, sound):
    write_store(tmp_path, {"naive": 0.4}, seeds=4)
    write_store(tmp_path, {"random_labels": -0.6}, seeds=4, control=True, predictions=True)
    for path in (tmp_path / "records").glob("*.json"):
        record = json.loads(path.read_text())
        record["test"]["chance"] = chance
        path.write_text(json.dumps(record))
    controls = build_board([tmp_path]).data["controls"]
    assert controls["checked"] == 1 and (not controls["misbehaving"]) == sound


def test_chance_is_read_from_predictions_and_scores(tmp_path):
    write_store(tmp_path, {"naive": 0.4}, seeds=3)
    write_store(tmp_path, {"random_labels": -0.6}, seeds=3, control=True, predictions=True)
    assert build_board([tmp_path]).data["controls"] == {"checked": 1, "misbehaving": []}
