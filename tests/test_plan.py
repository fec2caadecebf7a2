"""The plan: which stages there are, what their digests depend on, and how fast it is."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from w2s_bench.cells import ENTRY_RECIPE_FIELDS, Cell, Entry, Protocol, digest, entry_recipe
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import Recipe, Sizes, Tuning
from w2s_bench.referee.plan import plan_cells
from w2s_bench.registry import load

PLUGIN = str(Path(__file__).parent / "support/referee_plugin.py")
RATES = [f.name for f in fields(Recipe) if f.type == "float"]


@pytest.fixture(scope="module")
def registry():
    return load([PLUGIN])


def entry(registry, kind, name, **options):
    return Entry(name, {**registry.get(kind, name).options, **options})


def cell_of(registry, mitigations=("trick",), supervisors=("guess",), seed=0, **options):
    made = Cell(
        entry(registry, "task", "digits"),
        tuple(entry(registry, "supervisor", s) for s in supervisors),
        entry(registry, "student", "pupil"),
        tuple(entry(registry, "mitigation", m) for m in mitigations),
        seed,
    )
    return replace(made, **options)


def kinds(plan):
    return {k: sum(s.kind == k for s in plan.stages.values()) for k in ("prepare", "supervise", "ceiling", "train")}


def test_stages_are_shared(registry):
    cells = [
        cell_of(registry, m, ("guess", "guess_b"), seed)
        for m, seed in itertools.product([("trick",), ("control",), ("trick", "control")], range(4))
    ]
    plan = plan_cells(cells, registry)
    assert kinds(plan) == {"prepare": 4, "supervise": 8, "ceiling": 4, "train": 12}
    assert len(plan.cells) == 12


def test_stages_come_after_what_they_need(registry):
    plan = plan_cells([cell_of(registry, seed=s) for s in range(3)], registry)
    seen: set[str] = set()
    for key, stage in plan.stages.items():
        assert set(stage.needs) <= seen
        seen.add(key)


def test_equal_cells_collapse(registry):
    plan = plan_cells([cell_of(registry), cell_of(registry)], registry, ["first", "second"])
    assert len(plan.cells) == 1
    assert plan.cells[0].command == "first"


def test_another_name_is_another_record_but_no_more_work(registry):
    plan = plan_cells([cell_of(registry), cell_of(registry, supervisors=("guess_alias",))], registry)
    assert len(plan.cells) == 2
    assert kinds(plan) == {"prepare": 1, "supervise": 1, "ceiling": 1, "train": 1}


def test_mitigations_with_equal_options_are_different_work(registry):
    plan = plan_cells([cell_of(registry, ("trick",)), cell_of(registry, ("trick_b",))], registry)
    assert kinds(plan)["train"] == 2


def test_order_of_a_stack_and_of_supervisors_matters(registry):
    cells = [cell_of(registry, m) for m in (("trick", "control"), ("control", "trick"))]
    assert kinds(plan_cells(cells, registry))["train"] == 2
    cells = [cell_of(registry, supervisors=s) for s in (("guess", "guess_b"), ("guess_b", "guess"))]
    plan = plan_cells(cells, registry)
    assert kinds(plan) == {"prepare": 1, "supervise": 2, "ceiling": 1, "train": 2}


def test_replicate_changes_the_student_alone(registry):
    again = entry(registry, "student", "pupil", replicate=1)
    plan = plan_cells([cell_of(registry), cell_of(registry, student=again)], registry)
    assert kinds(plan) == {"prepare": 1, "supervise": 1, "ceiling": 2, "train": 2}
    assert len({s.seed for s in plan.stages.values() if s.kind == "train"}) == 2


def test_what_belongs_to_the_student_is_in_its_recipe_alone(registry):
    student = entry(registry, "student", "pupil", tune="probe", head_lr=0.5, body_lr=0.25, max_length=7)
    plan = plan_cells([cell_of(registry, student=student)], registry)
    for stage in plan.stages.values():
        if stage.kind in ("ceiling", "train"):
            r = stage.recipe
            assert (r.tune, r.head_lr, r.body_lr, r.max_length) == ("probe", 0.5, 0.25, 7)
        if stage.kind == "supervise":
            assert stage.recipe == Protocol().supervision


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"protocol": Protocol(training=Recipe(epochs=3))}, {"ceiling", "train"}),
        ({"protocol": Protocol(supervision=Recipe(epochs=3))}, {"supervise", "train"}),
        ({"protocol": Protocol(metric="auroc")}, set()),
        ({"seed": 1}, {"prepare", "supervise", "ceiling", "train"}),
    ],
)
def test_what_a_change_costs(registry, change, new):
    before = plan_cells([cell_of(registry)], registry)
    after = plan_cells([cell_of(registry, **change)], registry)
    assert {s.kind for d, s in after.stages.items() if d not in before.stages} == new
    assert before.cells[0].digest != after.cells[0].digest


def test_sizes_are_in_the_protocol_and_in_the_stages(registry):
    small = entry(registry, "task", "digits", n_test=20)
    before, after = (plan_cells([c], registry) for c in (cell_of(registry), cell_of(registry, task=small)))
    assert before.cells[0].protocol != after.cells[0].protocol
    assert not set(before.stages) & set(after.stages)


def test_a_changed_plugin_is_new_work(tmp_path):
    source = Path(PLUGIN).read_text()
    plans = []
    for text in (source, source + "\n# changed\n", source):
        (tmp_path / "copy.py").write_text(text)
        registry = load([str(tmp_path / "copy.py")])
        plans.append(plan_cells([cell_of(registry)], registry))
    assert set(plans[0].stages) == set(plans[2].stages)
    assert not set(plans[0].stages) & set(plans[1].stages)


def test_students_that_every_seed_loads_alike_are_known_to_the_cache(registry):
    def students(name, seed=0, **options):
        cell = replace(cell_of(registry, seed=seed), student=entry(registry, "student", name, **options))
        stages = plan_cells([cell], registry).stages.values()
        return {stage.kind: stage.students for stage in stages if stage.kind in ("ceiling", "train")}

    ladder = students("ladder_s")
    assert set(ladder["train"]) == {"strong"} and ladder["ceiling"] == ladder["train"]
    assert students("ladder_s", seed=1) == ladder
    assert students("ladder_m") != ladder and students("ladder_s", checkpoint=1) != ladder
    assert students("pupil") == {"ceiling": {}, "train": {}}  # its weights are drawn by the seed


def test_paths_are_not_identity_where_content_is(tmp_path):
    plugin = tmp_path / "place.py"
    text = Path(PLUGIN).read_text().replace('fault: str = ""\n    """What is wrong with the data."""', 'path: str = ""')
    plugin.write_text(text.replace("self.options.fault, ", "'', "))
    registry = load([str(plugin)])
    assert not registry.broken
    cells = [cell_of(registry, task=entry(registry, "task", "digits", path=p)) for p in ("/one/a.csv", "/two/a.csv")]
    plan = plan_cells(cells, registry)
    assert len(plan.cells) == 1


def test_unknown_name_and_failing_fingerprint_are_refused(registry, monkeypatch):
    with pytest.raises(UsageError, match="pupil"):
        plan_cells([cell_of(registry, student=Entry("pupill"))], registry)
    cls = registry.get("task", "digits").cls
    monkeypatch.setattr(cls, "fingerprint", lambda self: 1 / 0)
    with pytest.raises(W2SError, match=r"task 'digits'.*fingerprint.*ZeroDivisionError"):
        plan_cells([cell_of(registry)], registry)


@pytest.mark.parametrize("shared", [True, False])
def test_ten_thousand_cells(registry, shared, monkeypatch):
    asked = []
    monkeypatch.setattr(registry.get("task", "digits").cls, "fingerprint", lambda self: asked.append(1) or "x")
    names = ("trick", "trick_b", "trick_c", "trick_d", "control")
    axes = itertools.product(range(100), range(20), names)
    if shared:
        first = cell_of(registry)
        students = [entry(registry, "student", "pupil", strength=k / 20) for k in range(20)]
        stacks = {m: (entry(registry, "mitigation", m),) for m in names}
        cells = [replace(first, seed=s, student=students[k], mitigations=stacks[m]) for s, k, m in axes]
    else:
        cells = [
            cell_of(registry, (m,), seed=s, student=entry(registry, "student", "pupil", strength=k / 20))
            for s, k, m in axes
        ]
    start = time.perf_counter()
    plan = plan_cells(cells, registry)
    print(f"{time.perf_counter() - start:.2f} s")
    assert len(plan.cells) == 10_000
    assert kinds(plan) == {"prepare": 100, "supervise": 100, "ceiling": 2000, "train": 10_000}
    assert len(asked) == 1


def test_planning_imports_no_torch():
    code = (
        "import sys, w2s_bench.referee.plan, w2s_bench.referee.sweep, w2s_bench.cli.status; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'lightning', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_entry_decides_what_every_student_has_as_an_option():
    assert {*ENTRY_RECIPE_FIELDS, "replicate"} == {f.name for f in fields(Tuning)}
    recipe = entry_recipe(Recipe(epochs=3.0), {"tune": "probe", "head_lr": 1.0, "epochs": 9.0})
    assert recipe == Recipe(epochs=3.0, tune="probe", head_lr=1.0)
    assert not {*ENTRY_RECIPE_FIELDS} & Protocol().settings(Sizes())["training"].keys()


def test_equal_recipes_have_equal_digests():
    whole, other = (Recipe(**dict.fromkeys(RATES, number)) for number in (2, 2.0))
    assert whole == other and digest(asdict(whole)) == digest(asdict(other))
