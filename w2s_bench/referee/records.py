"""Writes a cell's record, out of the artefacts of its stages or out of the reason why there are none."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.cells import Run
from w2s_bench.errors import W2SError
from w2s_bench.jobs import Cost, parse_identity
from w2s_bench.referee.artefacts import Artefact
from w2s_bench.referee.handover import Prepared
from w2s_bench.referee.plan import SCHEMA, PlannedCell
from w2s_bench.referee.provenance import of_cell
from w2s_bench.referee.scoring import Answers, Check, right_of, score
from w2s_bench.referee.store import Store
from w2s_bench.registry.stacking import needs_truth
from w2s_bench.store.escape import bounded, of_error, plain
from w2s_bench.store.paths import strip_local_paths

WALLS = "walls.json"
"""Of an artefact: the text that says what its worker was confined by, written by the referee."""
HOST = "host.json"
"""Of an artefact that comes of a node of a cluster: what the node is, as `provenance.host` says it."""


def confinement_of(artefact: Artefact) -> str:
    """Returns what an artefact says of its worker; Damaged where it cannot be read."""
    return artefact.load(WALLS, exchange.parse_json) if WALLS in artefact.manifest else "none: not noted"


class Recorder:
    """Scores cells and writes their records into one store."""

    def __init__(self, run: Run, registry: Any, store: Store, confined: str) -> None:
        self.run, self.registry, self.store, self.confined = run, registry, store, confined
        # Cells share their task, supervisors and ceiling.
        self._truth = functools.lru_cache(maxsize=16)(_Truth)
        self._votes = functools.lru_cache(maxsize=64)(_votes)
        self._predictions = functools.lru_cache(maxsize=32)(_predictions)

    def write_result(self, cell: PlannedCell, artefacts: Mapping[str, Artefact], computed: set[str]) -> dict[str, Any]:
        """Returns the record that is now in the store; Damaged where one of the artefacts is.

        `computed` are the stages that were not there before the run. Those named in the record are taken out of it, so
        that over all records each stage's time is there once as not cached.
        """
        truth = self._truth(artefacts[cell.prepare])
        votes = [self._votes(artefacts[d]) for d in cell.supervise]
        trained = artefacts[cell.train]
        content = trained.load("predictions.parquet", bytes)
        student, ceiling = exchange.read_predictions(content), self._predictions(artefacts[cell.ceiling])
        cost, backbones = _cost(cell, artefacts, computed), _backbones(cell, artefacts)
        answers = Answers(
            truth.test, truth.transfer, [v["test"] for v in votes], votes[0]["transfer"], votes[0]["validation"],
            student["test"][1], student["transfer"][1], student["validation"][1], ceiling["test"][1],
            self._check(cell) if truth.info["kind"] == "generation" else None,
            truth.test_texts, truth.transfer_texts,
        )  # fmt: skip
        info = truth.info
        metrics, metric = self.registry.metrics, cell.cell.protocol.metric
        try:
            scored = score(answers, metrics, metric, info["same_for_all_seeds"])
        except W2SError:
            raise
        except Exception as error:
            raise W2SError(f"a metric out of {', '.join(metrics)} raised {of_error(error)}") from error
        scores = None
        if not info["sealed"]:
            scores = self.store.write_scores(cell.digest, truth.test_ids, right_of(answers))
        record = {
            **self._head(cell, "ok", None),
            **scored,
            "cost": cost,
            "predictions": self.store.write_predictions(cell.digest, content),
            "scores": scores,
        }
        record["provenance"] |= {
            "task_fingerprint": plain(info["fingerprint"], 200),
            "task_notes": info["notes"],
            "backbones": backbones,
            **({"host": trained.load(HOST, exchange.parse_json)} if HOST in trained.manifest else {}),
            "confined": "; ".join(sorted({confinement_of(artefacts[digest]) for digest in cell.stages})),
        }
        self.store.write_record(record)
        computed.difference_update(cell.stages)
        return record

    def _check(self, cell: PlannedCell) -> Check:
        """Returns the task's own check of an answer against the truth."""
        entry = cell.cell.task
        task = self.registry.get("task", entry.name).build(entry.options)

        def check(answer: str, truth: str, text: str) -> bool:
            try:
                return task.check(answer, truth, text)
            except Exception as error:
                raise W2SError(
                    f"task {entry.name!r}: check({answer!r:.60}, {truth!r:.60}) raised {of_error(error)}"
                ) from error

        return check

    def write_failure(self, cell: PlannedCell, status: str, reason: str) -> None:
        """Writes the record of a cell without a result."""
        nothing = dict.fromkeys(("test", "transfer", "validation", "pgr", "cost", "predictions", "scores"))
        self.store.write_record({**self._head(cell, status, reason), **nothing})

    def _head(self, cell: PlannedCell, status: str, reason: str | None) -> dict[str, Any]:
        classes = [self.registry.get("mitigation", m.name).cls for m in cell.cell.mitigations]
        sighted = any(needs_truth(c) for c in classes)
        return {
            "schema": SCHEMA,
            "digest": cell.digest,
            "protocol": cell.protocol,
            "protocol_settings": cell.settings,
            "suite": self.run.suite,
            "cell": strip_local_paths(cell.cell.describe()),
            **({"tuning": cell.cell.tuning} if cell.cell.tuning else {}),
            "control": any(bool(getattr(c, "control", False)) for c in classes),
            "track": "uses-ground-truth" if sighted else "weak-labels-only",
            "status": status,
            "reason": reason,
            "provenance": {
                **of_cell(cell.cell, self.registry, cell.command, str(self.run.hardware.get("accelerator", "cpu"))),
                "confined": self.confined,
            },
        }


class _Truth:
    def __init__(self, artefact: Artefact) -> None:
        prepared = Prepared.read(artefact)
        self.info = prepared.info
        self.test, self.transfer = prepared.truth("test"), prepared.truth("transfer")
        self.test_ids = prepared.ids["test"]
        in_words = self.info["kind"] == "generation"  # the task's check asks for the texts, classes need none
        self.test_texts, self.transfer_texts = (
            artefact.load(f"inputs/{split}.parquet", exchange.read_inputs).text if in_words else []
            for split in ("test", "transfer")
        )


def _votes(artefact: Artefact) -> dict[str, np.ndarray]:
    return artefact.load("votes.npz", exchange.read_arrays)


def _predictions(artefact: Artefact) -> dict[str, tuple[list[str], np.ndarray]]:
    return artefact.load("predictions.parquet", exchange.read_predictions)


def _cost(cell: PlannedCell, artefacts: Mapping[str, Artefact], computed: set[str]) -> dict[str, Any]:
    """Returns what the cell alone took (its train stage), and beside it the stages that it shares."""
    groups = {
        "prepare": (cell.prepare,),
        "supervise": cell.supervise,
        "ceiling": (cell.ceiling,),
        "train": (cell.train,),
    }
    stages = {}
    for kind, digests in groups.items():
        costs = [artefacts[d].load("cost.json", Cost.parse) for d in digests]
        seconds = sum(c.seconds for c in costs)
        stages[kind] = {"seconds": seconds, "cached": not any(d in computed for d in digests)}
        if kind == "ceiling":
            stages[kind]["steps"] = costs[0].steps
    return {**vars(costs[0]), "stages": stages}


def _backbones(cell: PlannedCell, artefacts: Mapping[str, Artefact]) -> dict[str, Any]:
    """Returns names and revisions of the networks behind student, ceiling and supervisors."""
    sides = {"student": cell.train, "ceiling": cell.ceiling}
    sides |= {f"supervisor {k}": d for k, d in enumerate(cell.supervise)}
    identities = {side: artefacts[d].load("identity.json", parse_identity) for side, d in sides.items()}
    return bounded(strip_local_paths({side: identity for side, identity in identities.items() if identity}), 500)
