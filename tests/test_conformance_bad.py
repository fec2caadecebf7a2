"""Plugins that break the contract, one way each: the check that is there for it says so, in a sentence."""

from __future__ import annotations

import re
import textwrap

import pytest
from support.bad_plugins import OTHERS, STUDENTS, SUPERVISORS, TASKS

from w2s_bench.conformance import check
from w2s_bench.registry import load

MITIGATIONS = '''
import numpy as np
import torch
from dataclasses import dataclass
from w2s_bench import hookimpl

SEEN = []

class GlobalTorch:
    """Draws from torch's global generator."""
    @hookimpl
    def weigh_examples(self, labels): return torch.rand(len(labels))

class GlobalNumpy:
    """Draws from numpy's global generator, where it wraps."""
    @hookimpl(wrapper=True)
    def training_targets(self):
        targets = yield
        share = float(np.random.rand())
        return share * targets + (1 - share) / targets.shape[-1]

class Entropy:
    """Draws from a generator of its own that nobody seeded."""
    @hookimpl
    def weigh_examples(self, labels): return torch.from_numpy(np.random.default_rng().random(len(labels)))

class Remembers:
    """Keeps labels in a module global, for the round after."""
    @hookimpl
    def revise_labels(self, labels):
        SEEN.append(labels)
        return labels

class Counts:
    """Keeps a count on its class."""
    rounds = 0
    @hookimpl
    def revise_labels(self, labels): Counts.rounds += 1

class Lies:
    """Says that it honours hooks that its own loop never asks."""
    honours = {"order_examples", "training_batch", "training_targets", "training_loss"}
    @hookimpl
    def fit_student(self, problem):
        student = problem.new_student()
        for batch, progress in problem.batches():
            logits = student.classifier(batch.inputs)
            student.step(-(batch.labels * logits.log_softmax(-1)).sum(-1), batch)
        return student

class Misspells:
    """Honours a hook that does not exist."""
    honours = {"training_target"}
    @hookimpl
    def revise_labels(self, labels): return labels

class DrawsInItsLoop(Lies):
    """Draws from torch's global generator in a loop of its own."""
    honours = set()
    @hookimpl
    def fit_student(self, problem):
        student = problem.new_student()
        for batch, progress in problem.batches():
            student.step(student.losses(batch, progress) * torch.rand(len(batch.labels)), batch)
        return student

class Features:
    """Uses features and does not say so."""
    kinds = frozenset({"classification"})
    @hookimpl
    def weigh_examples(self, pool): return pool.features.norm(dim=-1)

class Asks:
    """Asks for corrections and does not say so."""
    @hookimpl
    def revise_labels(self, labels, pool):
        return torch.eye(2)[pool.supervisors[0].correct(pool.inputs, labels.argmax(-1))]

class Doubles:
    """Returns labels that are no probabilities."""
    @hookimpl
    def revise_labels(self, labels): return 2 * labels

class Second:
    """Needs a second supervisor and does not say so."""
    @hookimpl
    def combine_votes(self, votes): return votes[1]

class NoAbstention:
    """Takes an abstention for a vote."""
    kinds = frozenset({"classification"})
    @hookimpl
    def combine_votes(self, votes): return (votes[0] > 0.5).float()

class Binary:
    """Knows two classes only."""
    @hookimpl
    def revise_labels(self, labels): return torch.stack([1 - labels[:, 1], labels[:, 1]], 1)

class Silent:
    @dataclass
    class Options:
        power: float = 1.0
    def __init__(self, options): pass
    @hookimpl
    def revise_labels(self, labels): return labels

@hookimpl
def register_mitigations(register):
    for cls in (GlobalTorch, GlobalNumpy, Entropy, Remembers, Counts, Lies, Misspells, DrawsInItsLoop, Features, Asks,
                Doubles, Second, NoAbstention, Binary, Silent):
        register(cls.__name__.lower(), cls)
    register("product", Silent)
'''
SOURCES = {
    "mitigation": MITIGATIONS, "task": TASKS, "supervisor": SUPERVISORS, "student": STUDENTS, "others": OTHERS,
}  # fmt: skip
CAUGHT = [
    ("mitigation", "globaltorch", "global_streams", r"weigh_examples drew from torch's .*`generator=pool.rng`"),
    ("mitigation", "globaltorch", "repeats", r"differ in \d+ of 48 examples; draw from pool.rng alone"),
    ("mitigation", "globalnumpy", "global_streams", r"training_targets drew from numpy's global generator"),
    ("mitigation", "entropy", "repeats", r"differ in \d+ of 48 examples"),
    ("mitigation", "remembers", "state", r"a fit changed bad.SEEN; keep it in self: each round gets a fresh object"),
    ("mitigation", "counts", "state", r"a fit changed Counts.rounds"),
    ("mitigation", "lies", "honours", r"training_targets was asked 0 times in 12 batches; .*student.losses\(\)"),
    ("mitigation", "misspells", "honours", r"honours 'training_target', which is no .*did you mean 'training_targets'"),
    ("mitigation", "drawsinitsloop", "global_streams", r"fit_student drew from torch's global generator"),
    ("mitigation", "features", "needs", r"used pool.features; declare needs = frozenset\(\{'features'\}\)"),
    ("mitigation", "asks", "needs", r"used a supervisor's `correct`; declare needs"),
    ("mitigation", "doubles", "trains", r"mitigation doubles: revise_labels must return probabilities of"),
    ("mitigation", "second", "trains", r"mitigation second: combine_votes raised IndexError"),
    ("mitigation", "noabstention", "abstentions", r"combine_votes must return probabilities .*do not sum to 1"),
    ("mitigation", "silent", "docstring", r'there is none; write """one line""" under class Silent'),
    ("mitigation", "silent", "options", r"power has no help; write .* under `power: ...`"),
    ("mitigation", "product", "registers", r"w2s_bench has a mitigation 'product' already; choose another name"),
    ("task", "overlap", "no_example_twice", r"'n \d+' is in transfer and in test; .*give equal texts one group"),
    ("task", "sameids", "four_splits", r"has the id 'x-0' in supervision and in transfer"),
    ("task", "sorted", "order", r"classes come in blocks"),
    ("task", "alternates", "order", r"classes alternate"),
    ("task", "tells", "ids", r"part 0 of '(odd|even)-\d+' is the class; number the examples"),
    ("task", "numbered", "ids", r"sorted by the number in ids such as 'row-\d+', classes come in blocks"),
    ("task", "seedless", "another_seed", r"supervision is the same for seeds 0 and 1; draw it from the seed"),
    ("task", "seedless", "same_test", r"the same for seeds 0 and 1; say same_test_for_all_seeds = True"),
    ("task", "global", "same_seed", r"ids of supervision differs; draw everything from the seed"),
    ("task", "claims", "same_test", r"it says so, and seeds 0 and 1 differ"),
    ("task", "wavers", "fingerprint", r"it was '0\.\d+', then '0\.\d+'; derive it from the data alone"),
    ("task", "greedy", "sizes", r"n_test=120 gave 170; give no more than was asked"),
    ("supervisor", "sums", "probabilities", r"48 of 48 rows are not, such as \[.*\]; divide each row by its sum"),
    ("supervisor", "shape", "labels", r"float64 \[48\] came where floats \[48, 2\] were due"),
    ("supervisor", "company", "each_text_alone", r"rows differ, by up to .*; keep nothing of a batch"),
    ("supervisor", "unseeded", "same_seed", r"48 of 48 rows differ, by up to .*; draw from context.seed"),
    ("supervisor", "pickles", "saves", r"me.bin is a pickle; write JSON, npz"),
    ("supervisor", "forgets", "saves", r"48 of 48 rows differ, .*save all that `label` rests on"),
    ("supervisor", "half", "saves", r"it has `save` and no `restore`; write `restore` too, or neither"),
    ("supervisor", "rewards", "rewards", r"float64 \[1\] came"),
    ("supervisor", "corrects", "corrects", r"1 to 2 came; return -1 to 1"),
    ("student", "width", "width", r"\[16, 8\] came where \[16, 16\] were due"),
    ("student", "pads", "padding", r"padding moves them by \d+.*; read by the attention mask alone"),
    ("student", "company", "padding", r"neighbours move them by .*; read each row by itself"),
    ("student", "shares", "fresh_copies", r"two share words.weight; load or copy the network inside `backbone`"),
    ("student", "unseeded", "same_seed", r"words.weight differs; draw from torch's stream"),
    ("student", "seeded", "pretrained", r"words.weight differs between two seeds; leave `pretrained` out"),
    ("student", "nameless", "pretrained", r"it has no fingerprint; return a digest"),
    ("student", "small", "shape", r"it says 700 weights, 800 are loaded; count"),
    ("student", "halved", "shape", r"layers is 0.5; give a whole number from 1"),
    ("student", "place", "identity", r"/home/me/weights is a place; name the folder"),
    ("student", "texts", "encodes", r"came for 16 texts; return a list of lists of ints"),
    ("others", "deaf", "tells_right_from_wrong", r"both get 0.99; compare the probabilities"),
    ("others", "undefined", "finite", r"nan came for perfect ones"),
    ("others", "ordered", "order_does_not_count", r"pair each row with its own truth"),
    ("others", "lost", "composes", r"no mitigation 'naivee'; did you mean 'naive'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Returns the report on each file, made when first asked."""
    folder, registry, made = tmp_path_factory.mktemp("bad"), load(), {}

    def get(kind):
        if kind not in made:
            path = folder / kind / "bad.py"
            path.parent.mkdir()
            path.write_text(textwrap.dedent(SOURCES[kind]))
            suite = "description: Lost.\nsweeps:\n  - ['mitigation=[naivee]']\n"
            (path.parent / "lost.yaml").write_text(suite)
            made[kind] = check(path, registry=registry)
        return made[kind]

    return get


@pytest.mark.parametrize(("kind", "name", "caught_by", "said"), CAUGHT, ids=[f"{c[1]}-{c[2]}" for c in CAUGHT])
def test_each_is_caught_by_its_check(reports, kind, name, caught_by, said):
    (plugin,) = [p for p in reports(kind).plugins if p.name == name]
    (finding,) = [f for f in plugin.findings if f.check == caught_by]
    assert finding.status == plugin.status == "fail", finding.sentence
    assert re.search(said, finding.sentence), finding.sentence
    assert "\n" not in finding.sentence


@pytest.mark.parametrize("kind", ["task", "supervisor", "student"])
def test_what_keeps_the_contract_beside_them_passes(reports, kind):
    (good,) = [p for p in reports(kind).plugins if p.name == "good"]
    assert good.status == "pass", [f.sentence for f in good.findings if f.status == "fail"]


def test_only_the_fault_itself_is_a_failure(reports):
    plugins = {p.name: p for p in reports("mitigation").plugins}
    for name in ("remembers", "counts", "lies", "misspells", "features", "asks", "noabstention"):
        assert len([f for f in plugins[name].findings if f.status == "fail"]) == 1, plugins[name].findings


def test_what_rests_on_a_failure_is_skipped(reports):
    (plugin,) = [p for p in reports("mitigation").plugins if p.name == "doubles"]
    found = {f.check: f for f in plugin.findings}
    assert [n for n, f in found.items() if f.status == "fail"] == ["trains"]
    assert found["repeats"].sentence == "skipped: it rests on what failed above"


def test_notes_fail_nobody(reports):
    (plugin,) = [p for p in reports("mitigation").plugins if p.name == "binary"]
    found = {f.check: f for f in plugin.findings}
    assert plugin.status == "pass" and found["three_classes"].status == "note"
    assert found["light_import"].sentence.endswith("it loads torch; import it inside the methods that use it.")
    assert "it is silent on its source and its cost" in found["documented"].sentence
