"""What the process that workers are forked from loads in advance."""

from __future__ import annotations

import os
import subprocess
import sys

from w2s_bench.referee import server
from w2s_bench.referee.lean import HEAVY


def test_lightning_comes_without_what_it_loads_along_and_torchmetrics_is_whole_for_who_asks():
    code = (
        "import sys; from w2s_bench.referee.lean import import_lightning; import_lightning()\n"
        f"assert 'lightning.pytorch' in sys.modules and not {{*{HEAVY}, 'torchmetrics'}} & set(sys.modules)\n"
        "from torchmetrics.functional.text import bert_score\n"
        f"assert {{*{HEAVY}}} <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_only_some_workers_need_is_loaded_once_there_are_many(monkeypatch):
    loaded = []
    monkeypatch.setattr(server, "_preload", loaded.extend)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", server)
    monkeypatch.setattr(server.signal, "set_wakeup_fd", lambda *_, **__: None)
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)
    with open(os.devnull, "wb") as nowhere:
        made = server._Server(nowhere.fileno(), nowhere.fileno(), may_fork=False)
        monkeypatch.setattr(made, "spawn", lambda *_: 0)
        for number in range(2 * server.MANY):
            assert loaded == (list(server.SOME_NEED) if number >= server.MANY else [])
            made.obey({"id": number, "target": "a:b", "folder": "", "walls": None})
