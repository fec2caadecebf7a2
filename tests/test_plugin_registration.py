"""What a plugin may register, and what is refused with which words."""

from __future__ import annotations

import re
import textwrap

import pytest
from support import plugin_files
from support.plugin_files import GOOD

from w2s_bench import events
from w2s_bench.errors import UsageError
from w2s_bench.registry import PLUGIN_KINDS, load

file = plugin_files.file


def mitigation(body: str, name: str = "mine") -> str:
    lines = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return f"""
class Mine:
    '''Mine.'''
{lines}

@hookimpl
def register_mitigations(register):
    register("{name}", Mine)
"""


def reasons(registry) -> str:
    return "\n".join(b.reason for b in registry.broken)


@pytest.mark.parametrize("kind", PLUGIN_KINDS)
def test_nearest_name(kind):
    registry = load()
    name = registry.names(kind)[0]
    with pytest.raises(UsageError, match=rf"no {kind} '{name}x'; did you mean '{name}'\? `w2s list {kind}s` shows all"):
        registry.get(kind, f"{name}x")


REFUSED = [
    ("@hookimpl(tryfirst=True)\ndef training_loss(self, batch): ...", "tryfirst=True, which bypasses the order"),
    ("@hookimpl(trylast=True)\ndef training_loss(self, batch): ...", "trylast=True, which bypasses the order"),
    ("@hookimpl(hookwrapper=True)\ndef training_loss(self): yield", "hookwrapper=True.*use wrapper=True"),
    ("@hookimpl\ndef training_loss(self, batch): yield batch", "yields but is not a wrapper"),
    ("@hookimpl(wrapper=True)\ndef training_loss(self, batch): return batch", "never yields"),
    ("def training_loss(self, batch): ...", "named like a hook but not marked; put @hookimpl above it"),
    (
        "@hookimpl\ndef training_los(self, batch): ...",
        "hook `training_los`; did you mean 'training_loss'",
    ),
    ("@hookimpl\ndef run_started(self, event): ...", "belongs to the plugin's module"),
    ("@hookimpl\ndef training_loss(self, bach): ...", r"asks for `bach`; the hook `training_loss` offers \(batch, "),
    ("@hookimpl\ndef training_loss(self, batch, **rest): ...", r"takes `\*\*rest`; name the arguments"),
    ("@hookimpl\ndef training_loss(self, batch=None): ...", "gives `batch` a default"),
    ("@hookimpl(wrapper=True)\ndef revise_labels(self):\n    return (yield)", "combines as a chain and takes no wrap"),
    ("@hookimpl(wrapper=True)\ndef weigh_examples(self):\n    return (yield)", "combines as a product and takes no"),
    ("@hookimpl(wrapper=True)\ndef training_batch(self):\n    return (yield)", "combines as a chain and takes no wrap"),
    ("@hookimpl(wrapper=True)\ndef fit_student(self):\n    return (yield)", "is one mitigation's own loop and takes"),
    ("def helper(self): ...", r"none of its methods \(helper\) is marked"),
    ("needs = {'luck'}", "needs 'luck', which nobody offers"),
    ("needs = 'features'", "write a set"),
    ("class Options: pass", "not a dataclass"),
    ("@dataclass\nclass Options:\n    x: float", "option `x` has no default"),
    ("@dataclass\nclass Options:\n    x: object = None", "option `x` has the type object; options are bool"),
    ("@dataclass\nclass Options:\n    name: str = ''", "cannot be called `name`"),
    ("@dataclass\nclass Options:\n    x: int = 'a'", "default of option `x`: expects a whole number, not 'a'"),
    ("@dataclass\nclass Options:\n    x: 'Nonsense' = 1", "types of `Options` cannot be read"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_refused_at_registration(file, body, reason):
    registry = load([file(mitigation(body))])
    assert "mine" not in registry.names("mitigation")
    (broken,) = registry.broken
    assert broken.name == "mine"
    assert broken.reason.startswith("mitigation 'mine': ")
    with pytest.raises(UsageError, match=reason):
        registry.get("mitigation", "mine")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("register('Mine', Trick)", "'Mine': a name is lower-case"),
        ("register('mine', Trick())", "takes a class, not Trick"),
        ("register('mine', Trick, powr=1)", "unknown option 'powr'; did you mean 'power'"),
        ("register('mine', Trick, power='a')", "power='a': expects a number"),
        ("register('mine', Trick, mode='x')", "expects one of soft, hard, not 'x'"),
        ("register('naive', Trick)", r"registered twice, by w2s_bench \(.*naive\) and by mine.py"),
    ],
)  # fmt: skip
def test_one_refused_entry_leaves_the_plugins_others(file, call, reason):
    code = GOOD.replace("self, options", "self, options=None") + f"    {call}\n    register('last', Trick)\n"
    registry = load([file(code)])
    assert {"trick", "last", "naive"} <= set(registry.names("mitigation"))
    assert len(registry.broken) == 1 and re.search(reason, reasons(registry)), reasons(registry)


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("task", "def load(self, seed, sizes): ...", "a task needs the method `fingerprint`"),
        ("task", "def load(self): ...\n    def fingerprint(self): ...\n    kind = 'x'", "its `kind` is 'x'"),
        ("supervisor", "def fit(self): ...", "a supervisor needs the method `label`"),
        ("student", "pass", "a student needs the method `backbone`"),
    ],
)
def test_what_a_kind_must_do(file, kind, body, reason):
    code = f"class Mine:\n    {body}\n@hookimpl\ndef register_{kind}s(register): register('mine', Mine)\n"
    assert reason in reasons(load([file(code)]))


def test_harness_options_are_everyones(file):
    code = """
class Mine:
    @dataclass
    class Options:
        head_lr: float = 0.5
    def __init__(self, options): self.options = options
    def backbone(self, seed): ...
@hookimpl
def register_students(register): register("mine", Mine, replicate=2)
"""
    entry = load([file(code)]).get("student", "mine")
    assert (entry.options["tune"], entry.options["head_lr"], entry.options["replicate"]) == ("full", 0.5, 2)
    assert vars(entry.build(entry.options).options) == {"head_lr": 0.5}


def test_metrics_suites_and_observers(file, tmp_path):
    (tmp_path / "s.yaml").write_text("description: S.\nsweeps: [[seed=0]]")
    code = f"""
seen = []
@hookimpl
def register_metrics(register):
    register("mine", lambda p, y: 1.0); register("broken", 3)
@hookimpl
def register_suites(register):
    register("mine", {str(tmp_path / "s.yaml")!r}); register("lost", "/nowhere.yaml"); register("quick", __file__)
@hookimpl
def run_finished(event): seen.append(event)
@hookimpl
def run_started(event): raise ValueError("no")
"""
    registry = load([file(code)])
    assert registry.metric("mine")(None, None) == 1.0
    assert {"mine", "quick"} <= set(registry.suites)
    assert [b.name for b in registry.broken] == ["broken", "lost", "quick"]
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        registry.metric("acuracy")
    event = events.RunFinished(1, 0, 2.0)
    registry.observe(event)
    assert next(f.plugin for f in registry._plugins if f.name == "mine.py").seen == [event]
    with pytest.warns(RuntimeWarning, match=r"plugin mine.py: run_started: ValueError: no"):
        registry.observe(events.RunStarted(1, 1, 0))
