"""Suites whose options are tuned: what is tried, how it is chosen, what records and boards say of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2s_bench import api
from w2s_bench.cells import Entry
from w2s_bench.compose import suites, tuning
from w2s_bench.errors import UsageError
from w2s_bench.registry import load
from w2s_bench.registry.search import space_of

REGISTRY = load([])
SEARCHED = [e for e in REGISTRY.entries("mitigation") if space_of(e)]
SMALL = ["task.n_supervision=400", "task.n_transfer=320", "task.n_test=300", "task.n_validation=200"]


def suite_file(folder, tune: str, mitigations: str = "[naive],[gce],[random_labels]"):
    path = folder / "tuned.yaml"
    overrides = json.dumps(
        ["task=reviews", *SMALL, "supervisor=[ladder_xxs_0]", "student=ladder_s", f"mitigation={mitigations}", "seed=0"]
    )
    path.write_text(f"description: tuned\ntune: {tune}\nsweeps:\n  - {overrides}\n")
    return path


def entry(name: str) -> Entry:
    return Entry(name, dict(REGISTRY.get("mitigation", name).options))


def test_most_mitigations_say_what_to_try():
    assert len(SEARCHED) >= 40
    assert not [e.name for e in SEARCHED if getattr(e.cls, "control", False)]


@given(names=st.lists(st.sampled_from([e.name for e in SEARCHED]), min_size=1, max_size=2, unique=True),
       count=st.integers(2, 12))  # fmt: skip
@settings(max_examples=30)
def test_versions_are_the_defaults_and_others_of_the_declared_values(names, count):
    stack = tuple(entry(n) for n in names)
    versions = tuning.configurations(stack, count, REGISTRY)
    assert versions[0] == stack and versions == tuning.configurations(stack, count, REGISTRY)
    assert 1 < len(versions) <= count
    assert len({tuple(e.key for e in v) for v in versions}) == len(versions)
    for version in versions[1:]:
        for tried, given_ in zip(version, stack, strict=True):
            space = space_of(REGISTRY.get("mitigation", tried.name))
            changed = {k for k, v in tried.options.items() if v != given_.options[k]}
            assert changed <= set(space) and all(tried.options[k] in values for k, values in space.items())


@pytest.mark.parametrize(
    ("tune", "sentence"),
    [
        ("{configurations: 8}", "`tune:` needs `configurations:` and `seeds:`"),
        ("{configurations: 1, seeds: [9]}", "tune.configurations: expects a whole number from 2, not 1"),
        ("{configurations: 2, seeds: []}", r"tune.seeds: expects a list of whole numbers from 0, not \[\]"),
        ("{configurations: 2, seeds: [-1]}", "tune.seeds: expects a list"),
    ],
)
def test_a_suite_that_tunes_wrongly_is_refused(tmp_path, tune, sentence):
    with pytest.raises(UsageError, match=sentence):
        suites.find(str(suite_file(tmp_path, tune)), REGISTRY)


def test_published_seeds_are_not_tuned_on(tmp_path):
    with pytest.raises(UsageError, match=r"seed 0 is published and may not be one of tune.seeds"):
        api.suite(str(suite_file(tmp_path, "{configurations: 2, seeds: [0]}")), store=tmp_path / "store")


def composed(folder, tune: str, mitigations: str):
    suite = suites.find(str(suite_file(folder, tune, mitigations)), REGISTRY)
    return suites.compose(suite, [], REGISTRY, store=str(folder / "store"))


def test_the_choice_follows_the_rule(tmp_path):
    run = composed(tmp_path, "{configurations: 4, seeds: [7, 8]}", "[naive],[gce]")
    trials = tuning.trials(run, run.tuning, REGISTRY)
    assert {c.seed for c in trials.cells} == {7, 8} and len(trials.cells) == 8
    assert trials.store.endswith("trials") and trials.suite is None
    versions = tuning.configurations((entry("gce"),), 4, REGISTRY)

    def chosen(*seen: tuple[float, float] | None) -> tuple[int, Entry]:
        """Returns what is chosen where the versions had these (agreement, log-loss) on both seeds; None failed once."""
        tried = {}
        for version, values in zip(versions, seen, strict=True):
            for seed in (7, 8):
                key = replace(trials.cells[0], mitigations=version, seed=seed).key
                failed = {"status": "failed", "validation": None}
                done = {
                    "status": "ok",
                    "validation": dict(zip(("agreement", "log_loss"), values or (1.0, 0.0), strict=True)),
                }
                tried[key] = failed if values is None and seed == 8 else done
        naive, tuned = tuning.settled(run, run.tuning, tried, REGISTRY).cells
        assert naive.tuning is None and naive.mitigations == run.cells[0].mitigations
        assert tuned.tuning["trials"][0]["options"] == {"gce": {"q": 0.7, "truncated": False}}
        return tuned.tuning["chosen"], tuned.mitigations[0]

    assert chosen((0.8, 1.0), (0.9, 2.0), (0.7, 0.1), (0.8, 0.1)) == (1, versions[1][0])
    assert chosen((0.8, 1.0), (0.9, 2.0), (0.9, 1.5), (0.8, 0.1)) == (2, versions[2][0])
    assert chosen((0.8, 1.0), (0.8, 1.0), (0.8, 1.0), (0.8, 1.0)) == (0, versions[0][0])
    assert chosen((0.1, 1.0), None, (0.2, 1.0), None) == (2, versions[2][0])  # what failed on a seed is not chosen


def test_a_tuned_suite_from_end_to_end(tmp_path):
    results = api.suite(str(suite_file(tmp_path, "{configurations: 3, seeds: [200]}")), store=tmp_path / "store")
    assert (results.ok, results.failed) == (3, 0)
    records = {r["cell"]["mitigations"][0]["name"]: r for r in results.records}
    choice = records["gce"]["tuning"]
    assert [len(choice["trials"]), choice["seeds"]] == [3, [200]] and "tuning" not in records["naive"]
    trials = [json.loads(p.read_text()) for p in (tmp_path / "store" / "trials" / "records").glob("*.json")]
    assert {r["cell"]["seed"] for r in trials} == {200}
    agreements = {json.dumps(r["cell"]["mitigations"][0], sort_keys=True): r["validation"]["agreement"] for r in trials}
    best = max(agreements.values())
    assert agreements[json.dumps(records["gce"]["cell"]["mitigations"][0], sort_keys=True)] == best
    assert choice["trials"][choice["chosen"]]["agreement"] == best
    rows = {row["mitigation"] for row in results.board().rows}
    assert rows == {"naive", "gce(tuned)", "random_labels"}
    again = api.suite(str(tmp_path / "tuned.yaml"), store=tmp_path / "store")
    assert (again.ok, again.skipped) == (0, 3)
