"""Sources of tasks, supervisors, students, metrics and suites that break the contract, one way each."""

from __future__ import annotations

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
from w2s_bench.estimate.shape import Shape
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

class Small(Good):
    """Tells a size that is not its own."""
    def shape(self): return Shape(weights=700, layers=1, hidden=8, vocabulary=100)

class Halved(Good):
    """Tells a size that nothing has."""
    def shape(self): return Shape(weights=800, layers=0.5, hidden=8, vocabulary=100)

class Place(Good):
    """Tells where it lies."""
    identity = {"name": "/home/me/weights"}

class Texts(Good):
    """Encodes to words."""
    def encode(self, texts): return [t.split() for t in texts]

@hookimpl
def register_students(register):
    for cls in (Good, Width, Pads, Company, Shares, Unseeded, Seeded, Nameless, Small, Halved, Place, Texts):
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
