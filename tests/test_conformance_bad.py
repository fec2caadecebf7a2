"""Plugins that break the contract, one way each: the check that is there for it says so, in a sentence."""

from __future__ import annotations

import re
import textwrap

import pytest

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
TASKS = '''
import random
import numpy as np
from w2s_bench import hookimpl
from w2s_bench.interfaces import SPLITS, Inputs, Split

class Good:
    """Is a number odd?"""
    kind = "classification"
    def fingerprint(self): return "1"
    def ids(self, numbers): return [f"x-{n * 7919 % 100003}" for n in numbers]
    def draw(self, seed, n): return np.random.default_rng(seed).choice(9999, n, replace=False)
    def order(self, numbers): return numbers
    def load(self, seed, sizes):
        counts = [getattr(sizes, f"n_{s}") for s in SPLITS]
        parts = dict(zip(SPLITS, np.split(self.draw(seed, sum(counts)), np.cumsum(counts)[:-1])))
        return ["even", "odd"], self.finish({k: self.order(v) for k, v in parts.items()})
    def finish(self, parts):
        return {k: Split(Inputs(self.ids(v), [f"n {n}" for n in v]), v % 2) for k, v in parts.items()}

class Overlap(Good):
    """Test examples under other ids in transfer."""
    def finish(self, parts):
        splits = super().finish(parts)
        copied = splits["test"].inputs
        renamed = Inputs([f"again-{i}" for i in copied.ids], copied.text)
        return {**splits, "transfer": Split(renamed, splits["test"].truth)}

class SameIds(Good):
    """The same ids in two splits."""
    def ids(self, numbers): return [f"x-{i}" for i in range(len(numbers))]

class Sorted(Good):
    """Splits in order of their class."""
    def order(self, numbers): return numbers[np.argsort(numbers % 2, kind="stable")]

class Alternates(Good):
    """Even, odd, even, odd."""
    def order(self, numbers):
        even, odd = numbers[numbers % 2 == 0], numbers[numbers % 2 == 1]
        n = min(len(even), len(odd))
        return np.stack([even[:n], odd[:n]], 1).ravel()

class Tells(Good):
    """The class in the id."""
    def ids(self, numbers): return [f"{'odd' if n % 2 else 'even'}-{n}" for n in numbers]

class Numbered(Good):
    """Ids that count a table sorted by class."""
    def ids(self, numbers): return [f"row-{n + 10000 * (n % 2)}" for n in numbers]

class Seedless(Good):
    """The same for every seed, and silent on it."""
    def draw(self, seed, n): return super().draw(0, n)

class Global(Good):
    """Drawn from a global generator."""
    def draw(self, seed, n): return np.array(random.sample(range(9999), n))

class Claims(Good):
    """Says that test is fixed."""
    same_test_for_all_seeds = True

class Wavers(Good):
    """Another fingerprint each time."""
    def fingerprint(self): return str(random.random())

class Greedy(Good):
    """More than was asked."""
    def draw(self, seed, n): return super().draw(seed, n + 50)

@hookimpl
def register_tasks(register):
    for cls in (Good, Overlap, SameIds, Sorted, Alternates, Tells, Numbered, Seedless, Global, Claims, Wavers, Greedy):
        register(cls.__name__.lower(), cls)
'''
SUPERVISORS = '''
import pickle, random
import numpy as np
from w2s_bench import hookimpl

class Good:
    """Votes by the length of the last word."""
    def fit(self, inputs, truth, context): self.bias = 0.5 + 0.1 * float(np.mean(truth))
    def label(self, inputs):
        p = np.array([0.9 if len(t.split()[-1]) > 2 else 0.2 for t in inputs.text]) * self.bias
        return self.rows(p)
    def rows(self, p): return np.stack([1 - p, p], 1)

class Sums(Good):
    """Rows that do not sum to 1."""
    def rows(self, p): return np.stack([p, p], 1)

class Shape(Good):
    """A single column."""
    def rows(self, p): return p

class Company(Good):
    """Votes that are relative to the batch."""
    def rows(self, p): return super().rows(p - p.min())

class Unseeded(Good):
    """Another one each time."""
    def fit(self, inputs, truth, context): self.bias = np.random.default_rng().random()

class Pickles(Good):
    """Saves a pickle."""
    def save(self, folder): (folder / "me.bin").write_bytes(pickle.dumps(self.bias))
    def restore(self, folder, context): self.bias = pickle.loads((folder / "me.bin").read_bytes())

class Forgets(Good):
    """Restores something else."""
    def save(self, folder): pass
    def restore(self, folder, context): self.bias = 0.1

class Half(Good):
    """Saves and cannot be restored."""
    def save(self, folder): pass

class Rewards(Good):
    """One reward for all."""
    def reward(self, inputs, answers): return np.ones(1)

class Corrects(Good):
    """Corrects to a class that is not there."""
    def correct(self, inputs, answers): return answers + 1

@hookimpl
def register_supervisors(register):
    for cls in (Good, Sums, Shape, Company, Unseeded, Pickles, Forgets, Half, Rewards, Corrects):
        register(cls.__name__.lower(), cls)
'''
STUDENTS = '''
import torch
from w2s_bench import hookimpl
from w2s_bench.interfaces import Backbone

class Body(torch.nn.Module):
    def __init__(self, masked=True):
        super().__init__()
        self.masked, self.words = masked, torch.nn.Embedding(100, 8)
    def forward(self, input_ids, attention_mask):
        read = self.words(input_ids)
        return (read * attention_mask[..., None]).sum(1) if self.masked else read.mean(1)

SHARED = Body()

class Good:
    """The sum of word embeddings."""
    width, identity = 8, {"name": "good"}
    def encode(self, texts): return [[int(w[1:]) + 1 for w in t.split()] for t in texts]
    def body(self): return Body()
    def backbone(self, seed): return Backbone(self.body(), self.encode, 0, self.width, self.identity)

class Width(Good):
    """Says another width."""
    width = 16

class Pads(Good):
    """Reads the padding."""
    def body(self): return Body(masked=False)

class Company(Good):
    """Centres features over the batch."""
    def body(self):
        class Centred(Body):
            def forward(self, input_ids, attention_mask):
                read = super().forward(input_ids, attention_mask)
                return read - read.mean(0)
        return Centred()

class Shares(Good):
    """Hands the same network to all."""
    def body(self): return SHARED

class Unseeded(Good):
    """Weights that nobody seeded."""
    def body(self):
        made = Body()
        torch.nn.init.normal_(made.words.weight, generator=torch.Generator().manual_seed(torch.seed() % 2**31))
        return made

class Seeded(Good):
    """Says that every seed gives the same weights, which are drawn."""
    pretrained = True
    def fingerprint(self): return "weights"

class Nameless(Good):
    """Says that its weights are always the same, but not which."""
    pretrained = True

class Place(Good):
    """Tells where it lies."""
    identity = {"name": "/home/me/weights"}

class Texts(Good):
    """Encodes to words."""
    def encode(self, texts): return [t.split() for t in texts]

@hookimpl
def register_students(register):
    for cls in (Good, Width, Pads, Company, Shares, Unseeded, Seeded, Nameless, Place, Texts):
        register(cls.__name__.lower(), cls)
'''
OTHERS = '''
from pathlib import Path
from w2s_bench import hookimpl

def deaf(probabilities, truth):
    """Returns the same for right and wrong."""
    return float(probabilities.max())

def undefined(probabilities, truth):
    """Returns nothing that can be compared."""
    return float("nan")

def ordered(probabilities, truth):
    """Returns what hangs on the order."""
    right = probabilities.argmax(1) == truth
    return float((right * range(len(right))).sum())

@hookimpl
def register_metrics(register):
    register("deaf", deaf)
    register("undefined", undefined)
    register("ordered", ordered)

@hookimpl
def register_suites(register):
    register("lost", Path(__file__).with_name("lost.yaml"))
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
