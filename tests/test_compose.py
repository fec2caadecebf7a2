"""Composition: overrides to cells, what is refused and in which words, and how often Hydra is asked."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from support import composing
from support.composing import TOY

import w2s_bench.conf
from w2s_bench.cells import Protocol
from w2s_bench.compose import entries, suites
from w2s_bench.compose import runs as compose
from w2s_bench.compose.composer import open_composer
from w2s_bench.compose.overrides import as_override
from w2s_bench.errors import UsageError
from w2s_bench.registry import PLUGIN_KINDS

registry, make = composing.registry, composing.make

CONF = Path(w2s_bench.conf.__file__).parent


def test_one_cell_with_all_defaults(registry, monkeypatch):
    for name in ("W2S_STORE", "W2S_CACHE"):
        monkeypatch.delenv(name, raising=False)
    run = compose.cells([], False, registry)
    (cell,) = run.cells
    assert cell.label() == "facts  ladder_xs_0 > ladder_m  naive  seed 0"
    assert cell.protocol == Protocol()
    assert (run.store, run.trainer, run.suite, run.retry_failed) == ("w2s-runs", {}, None, False)
    assert run.engine["name"] == "local" and run.hardware["accelerator"] == "cpu"
    assert run.plugins == [TOY]
    assert "w2s_bench" in run.cache
    json.dumps(asdict(run))


def test_values_reach_their_owner(make):
    run = make(
        "mitigation=[easy_to_hard,aux_confidence]", "mitigation.aux_confidence.alpha_max=1", "task.n_transfer=200",
        "student.replicate=1", "supervisor.toy_weak.words=30", "seed=7", "protocol.training.epochs=3",
        "protocol.supervision.batch_size=16", "protocol.metric=auroc", "trainer.devices=2", "engine=inline",
        "engine.timeout_s=5", "engine.save_every_s=60", "hardware.threads=2", "store=there",
    )  # fmt: skip
    (cell,) = run.cells
    assert [m.name for m in cell.mitigations] == ["easy_to_hard", "aux_confidence"]
    assert cell.mitigations[1].options["alpha_max"] == 1.0 and isinstance(
        cell.mitigations[1].options["alpha_max"], float
    )
    assert (cell.task.options["n_transfer"], cell.student.options["replicate"], cell.seed) == (200, 1, 7)
    assert cell.supervisors[0].options["words"] == 30
    assert (cell.protocol.training.epochs, cell.protocol.supervision.batch_size) == (3.0, 16)
    assert cell.protocol.supervision.epochs == Protocol().supervision.epochs
    assert (cell.protocol.metric, run.trainer, run.store) == ("auroc", {"devices": 2}, "there")
    assert run.engine == {"name": "inline", "workers": 1, "timeout_s": 5.0, "save_every_s": 60.0, "confine": "auto"}
    assert run.hardware == {"accelerator": "cpu", "threads": 2, "card": None}


def test_store_and_cache(make, monkeypatch):
    monkeypatch.setenv("W2S_STORE", "from-environment")
    assert make().store == "from-environment"
    assert make("store=said").store == "said"
    assert make("store=said", store="option").store == "option"
    assert make().cache == "the-cache" and make("cache=other").cache == "other"


def test_sweep_is_a_product_in_hydras_order(make):
    run = make("mitigation=[naive],[gce,product]", "seed=range(0,3)", multirun=True)
    got = [("+".join(m.name for m in c.mitigations), c.seed) for c in run.cells]
    assert got == [(m, s) for m in ("naive", "gce+product") for s in range(3)]
    assert [c.seed for c in make("seed=choice(2,5)", multirun=True).cells] == [2, 5]
    assert [c.task.name for c in make("task=toy,facts", multirun=True).cells] == ["toy", "facts"]
    stacks = [c.mitigations[0].name for c in make("mitigation=glob(random*)", multirun=True).cells]
    assert stacks == ["random_filter", "random_labels"]
    assert make("mitigation=naive").cells == make("mitigation=[naive]").cells
    epochs = make("protocol.training.epochs=1,2", multirun=True)
    assert [c.protocol.training.epochs for c in epochs.cells] == [1.0, 2.0]


def test_an_option_applies_to_the_stacks_that_hold_it(make):
    run = make("mitigation=[naive],[gce],[product,gce]", "mitigation.gce.q=0.2,0.4", multirun=True)
    got = [[(m.name, m.options.get("q")) for m in c.mitigations] for c in run.cells]
    assert [("naive", None)] in got and len(got) == 5  # naive once, though q has two values
    assert [("product", None), ("gce", 0.2)] in got and [("gce", 0.4)] in got
    tasks = make("task=toy,table", "task.path=data.csv", multirun=True).cells
    assert [c.task.options.get("path") for c in tasks] == [None, "data.csv"]


def test_last_of_two_equal_keys_wins(make):
    assert [c.seed for c in make("seed=0,1", "seed=5", multirun=True).cells] == [5]


def test_environment_in_values(make, monkeypatch):
    monkeypatch.setenv("A_SEED", "4")
    assert make("seed=${oc.env:A_SEED}").cells[0].seed == 4


def test_intermediate_students_are_resolved(make, registry):
    (cell,) = make("mitigation=[bootstrapping]", "mitigation.bootstrapping.intermediate=[toy_small]").cells
    assert cell.intermediate["toy_small"].options == registry.get("student", "toy_small").options
    assert cell.intermediate["toy_small"].options["width"] == 16


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: p.relative_to(CONF).as_posix())
def test_every_config_composes(registry, path):
    group, name = path.relative_to(CONF).parent.name, path.stem
    if group == "suite":
        suite = suites.read(name, path)
        run = suites.compose(suite, [], registry)
        assert run.suite == name and len(run.cells) > 1 and suite.description
    elif group:
        assert getattr(compose.cells([f"{group}={name}"], False, registry), group) == yaml.safe_load(path.read_text())
    else:
        assert compose.cells([], False, registry).cells


@pytest.mark.parametrize("kind", PLUGIN_KINDS)
def test_every_entry_composes_to_its_registered_options(registry, kind):
    with open_composer(registry, []) as composer:
        names = {k: set(registry.names(k)) if k == kind else set() for k in PLUGIN_KINDS}
        composer.entries.base(names, None, None)
        for name in registry.names(kind):
            assert composer.entries.entry(kind, name, [], set()).options == registry.get(kind, name).options


def test_ten_thousand_cells_compose_per_axis_value(registry, monkeypatch):
    asked = []
    original = entries.Entries._compose
    monkeypatch.setattr(entries.Entries, "_compose", lambda *args: asked.append(1) or original(*args))
    run = compose.cells(
        ["task=toy,facts", "supervisor=[toy_weak],[toy_weak_b],[toy_weak,toy_weak_b]", "student=toy,toy_small",
         "mitigation=[naive],[gce],[product],[gce,aux_confidence],[identity]", "mitigation.gce.q=0.1,0.2",
         "protocol.training.epochs=1,2", "seed=range(0,60)"],
        True, registry,
    )  # fmt: skip
    # 2 tasks x 3 x 2 students x (3 stacks + 2 stacks x 2 options) x 2 protocols x 60 seeds
    assert len(run.cells) == len(run.commands) == 2 * 3 * 2 * 7 * 2 * 60
    assert len(asked) == 2  # as often as there are tasks or students, whichever are more
    assert len({id(c.protocol) for c in run.cells}) == 2


def test_commands_give_the_same_cell_again(make, registry, tmp_path):
    secret = tmp_path / "secret folder" / "data it's.csv"
    secret.parent.mkdir()
    secret.touch()
    run = make(
        "task=table", f"task.path='{str(secret).replace(chr(39), chr(92) + chr(39))}'", "task.text='a b,c'",
        "mitigation=[easy_to_hard,gce],[bootstrapping]", "mitigation.gce.q=0.25", "seed=1,2",
        "mitigation.bootstrapping.intermediate=[toy_small]", "student.replicate=3", "protocol.training.epochs=0.5",
        multirun=True,
    )  # fmt: skip
    assert len(run.commands) == 4
    for cell, command in zip(run.cells, run.commands, strict=True):
        words = shlex.split(command)
        assert words[:4] == ["w2s", "run", "--plugins", "toy.py"]
        assert str(tmp_path) not in command and "data it" in command
        (again,) = compose.cells(words[4:], False, registry).cells
        shortened = {**cell.task.options, "path": secret.name}
        assert again.task.options == shortened
        assert (again.supervisors, again.student, again.mitigations) == (
            cell.supervisors,
            cell.student,
            cell.mitigations,
        )
        assert (again.seed, again.protocol, again.intermediate) == (cell.seed, cell.protocol, cell.intermediate)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_written_overrides_read_back(value):
    (override,) = OverridesParser.create().parse_overrides([as_override("k", value)])
    got = override.value()
    assert got == value and isinstance(got, type(value))


def test_config_folder_brings_groups_of_its_own(make, tmp_path):
    for name, text in {
        "hardware/box.yaml": "accelerator: gpu\nthreads: 3",
        "student/slim.yaml": "defaults: [toy]\nwidth: 24",
        "supervisor/poor.yaml": "# @package supervisor.poor\nname: toy_weak\nwords: 11",
        "supervisor/odd.yaml": "words: 11",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    run = make("hardware=box", "student=slim", "supervisor=[poor,toy_noisy]", config_dirs=[tmp_path])
    (cell,) = run.cells
    assert run.hardware == {"accelerator": "gpu", "threads": 3}
    assert (cell.student.name, cell.student.options["width"]) == ("toy", 24)
    assert [(s.name, s.options["words"]) for s in cell.supervisors] == [("toy_weak", 11), ("toy_noisy", 64)]
    assert "student=toy student.width=24" in run.commands[0]
    assert "supervisor.toy_weak.words=11" in run.commands[0]
    (cell,) = make("supervisor=[poor]", "supervisor.poor.words=12", config_dirs=[tmp_path]).cells
    assert cell.supervisors[0].options["words"] == 12
    with pytest.raises(
        UsageError, match=re.escape("supervisor/odd.yaml: it needs `# @package supervisor.odd` and `name")
    ):
        make("supervisor=[odd]", config_dirs=[tmp_path])
    with pytest.raises(UsageError, match="there is no such folder"):
        make(config_dirs=[tmp_path / "none"])


def test_sweeps_may_write_the_same_option_in_other_ways(registry, tmp_path):
    path = tmp_path / "s.yaml"
    common = "task=toy, 'supervisor=[toy_weak]', student=toy, 'mitigation=[naive]', seed=0"
    path.write_text(f"sweeps:\n- [{common}, 'student.width=16,32']\n- [{common}, student.width=32, task.n_test=300]\n")
    cells = suites.compose(suites.find(str(path), registry), [], registry).cells
    assert sorted((c.student.options["width"], c.task.options["n_test"] == 300) for c in cells) == [
        (16, False), (32, False), (32, True),
    ]  # fmt: skip


def test_suite_overrides_replace_and_cells_are_not_repeated(registry, tmp_path):
    path = tmp_path / "mine.yaml"
    base = ["task=toy", "student=toy"]
    path.write_text(yaml.safe_dump({"description": "Mine.", "sweeps": [
        [*base, "supervisor=[toy_weak]", "mitigation=[naive],[gce]", "seed=0,1"],
        [*base, "supervisor=[toy_weak,toy_weak_b]", "mitigation=[naive],[mean_ensemble]", "seed=0,1"],
    ]}))  # fmt: skip
    suite = suites.find(str(path), registry)
    assert len(suites.compose(suite, [], registry).cells) == 8
    assert {c.seed for c in suites.compose(suite, ["seed=7"], registry).cells} == {7}
    assert len(suites.compose(suite, ["supervisor=[toy_weak]", "mitigation=[naive]"], registry).cells) == 2
    some = suites.compose(suite, ["mitigation.gce.q=0.5"], registry)  # of the first sweep alone
    assert {m.options["q"] for c in some.cells for m in c.mitigations if m.name == "gce"} == {0.5}
    with pytest.raises(UsageError, match="no cell has the mitigation 'product'"):
        suites.compose(suite, ["mitigation.product.alpha=0.5"], registry)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sweeps: []", "`sweeps` is a list of lists"),
        ("description: x", "needs `description:` and `sweeps:`"),
        ("sweep: [[a=b]]\nsweeps: [[a=b]]", "unknown key 'sweep'; did you mean 'sweeps'?"),
        ("sweeps: [[1]]", "1 is not an override"),
        ("sweeps: [", "cannot be read"),
    ],
)
def test_odd_suites(tmp_path, text, reason):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(reason)):
        suites.read("odd", path)


def test_hydra_is_left_as_it_was(make):
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().hydra
    make()
    with pytest.raises(UsageError):
        make("task=nope")
    assert GlobalHydra.instance().hydra is before
