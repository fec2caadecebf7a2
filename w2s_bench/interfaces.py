"""Interfaces of the four plugin kinds, structural (nobody inherits), and what passes through them. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch

TASK_KINDS = ("classification", "preference", "generation")
"""Kinds of task."""
KINDS_WITH_CLASSES = TASK_KINDS[:2]
"""What a plugin serves that does not say otherwise in its `kinds`."""
SPLITS = ("supervision", "transfer", "validation", "test")


class Conversation(str):
    """A text that is a conversation: as a string, a line `role: content` for each message, with blank lines between.

    Models with a chat template read `messages` through it, everything else reads the string. What is made out of the
    string, by slicing or joining, is a plain text without messages, so that the two never disagree.
    """

    messages: tuple[tuple[str, str], ...]
    """Role and content of each."""

    def __new__(cls, messages: Iterable[tuple[str, str]]) -> Conversation:
        messages = tuple(messages)
        text = super().__new__(cls, "\n\n".join(f"{role}: {content}" for role, content in messages))
        text.messages = messages
        return text

    def __getnewargs__(self) -> Any:
        return (self.messages,)  # copies are conversations too


@dataclass(frozen=True)
class Inputs:
    """Examples without their truth, in a fixed order."""

    ids: list[str]
    """Unique within the whole task."""
    text: list[str]
    """What the model reads; in a preference task, the prompt and the first candidate. Each may be a `Conversation`."""
    other: list[str] | None = None
    """Preference tasks: the prompt and the second candidate."""
    difficulty: np.ndarray | None = None
    """[N] floats, higher is harder, known without the truth; None where the task has none."""
    candidates: list[list[str | None]] | None = None
    """Generation tasks, in training: [C - 1][N] what the columns of labels say, or None; the last is the rest."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int] | np.ndarray) -> Inputs:
        """Returns the examples at these positions."""
        at = [int(i) for i in indices]
        other = None if self.other is None else [self.other[i] for i in at]
        difficulty = None if self.difficulty is None else np.asarray(self.difficulty)[at]
        candidates = None if self.candidates is None else [[column[i] for i in at] for column in self.candidates]
        return Inputs([self.ids[i] for i in at], [self.text[i] for i in at], other, difficulty, candidates)


@dataclass(frozen=True)
class Split:
    """One split with its ground truth; only tasks and the referee ever have one."""

    inputs: Inputs
    truth: np.ndarray
    """[N] class numbers; preference: 1 where `other` is the better candidate; generation: texts."""
    group: list[str] | None = None
    """Examples that share a group never straddle two splits."""


@dataclass(frozen=True)
class TaskInfo:
    """What a worker may know about a task."""

    name: str
    kind: str
    n_classes: int
    """0 in a generation task."""
    class_names: list[str]


@dataclass(frozen=True)
class Sizes:
    """Size of each split, at most."""

    n_supervision: int = 4000
    """Examples with ground truth that supervisors learn from."""
    n_transfer: int = 3000
    """Examples that the student learns from: weak labels for it, ground truth for the ceiling."""
    n_validation: int = 500
    """Weakly labelled examples for mitigations that select."""
    n_test: int = 3000
    """Examples on which everything is scored."""


@dataclass(frozen=True)
class TaskOptions(Sizes):
    """Options that every task has."""

    n_gold: int = 0
    """Examples of the supervision split whose truth is given to mitigations that declare the need `ground_truth`."""
    n_unlabelled: int = 0
    """Texts that mitigations may read beside the transfer split, and that are in no other split (`pool.unlabelled`)."""


@dataclass(frozen=True)
class Recipe:
    """How a model is finetuned. Learning rates belong to the entry, the rest to the protocol."""

    body_lr: float = 5e-5
    """Peak learning rate of the pretrained weights."""
    head_lr: float = 3e-3
    """Peak learning rate of the new head."""
    epochs: float = 1.0
    """Passes over the split; fixes the number of optimiser steps, epochs * N // batch_size."""
    batch_size: int = 32
    """Examples per optimiser step."""
    schedule: str = "cosine"
    """`cosine` or `linear` decay to zero after the warm-up."""
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    precision: str = "32-true"
    """`32-true` or `bf16-mixed`."""
    accumulate: int = 1
    """Micro-batches per optimiser step, for memory alone: the batch of a step stays the same."""
    tune: str = "full"
    """`full` trains every weight, `probe` the head on frozen features, `lora` low-rank adapters and the head."""
    max_length: int = 512
    """Tokens kept of a text, from its start."""

    def __post_init__(self) -> None:
        for name in ("body_lr", "head_lr", "epochs", "warmup", "weight_decay", "clip_norm"):
            object.__setattr__(self, name, float(getattr(self, name)))  # 2 equals 2.0, and so must their digests


@runtime_checkable
class Task(Protocol):
    """A dataset with its split rule. Optional attributes: `Options`, `sealed`, `same_test_for_all_seeds`, `notes`.

    `notes`, asked after `load`, are sentences about the data, such as what was left out; runs and records show them.
    A generation task gives no class names, texts as truth, and `check(answer, truth, text) -> bool`.
    """

    kind: ClassVar[str]

    def fingerprint(self) -> str:
        """Returns what identifies the data beyond the options: a file's digest, a generator's version, a revision."""

    def load(self, seed: int, sizes: Sizes) -> tuple[list[str], dict[str, Split]]:
        """Returns the class names and the four splits drawn by `seed`."""


@dataclass(frozen=True)
class FitContext:
    """What a supervisor gets beside the examples when it is fitted."""

    task: TaskInfo
    seed: int
    recipe: Recipe
    """The protocol's recipe for supervisors; an entry's own learning rates replace these."""
    stage: Any = field(default=None, repr=False, compare=False)
    """Set by the harness: the `training.loop.StageContext` whose meter and cache `training.finetune` goes on using."""
    truth: Mapping[str, int] | None = field(default=None, repr=False, compare=False)
    """True classes by example id, of every split: for controls that declare `needs = frozenset({"truth"})` alone."""


@runtime_checkable
class Supervisor(Protocol):
    """A weak model or person. Optional: `Options`, `fingerprint`, `kinds`, `reward`, `correct`, `save`, `restore`."""

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Learns from the supervision split alone."""

    def label(self, inputs: Inputs) -> np.ndarray:
        """Returns probabilities [N, C]; a row of NaN abstains."""

    # answer(inputs) -> [N] texts, in place of `label` in generation tasks; an empty text abstains
    # reward(inputs, answers) -> [N] floats: how good these answers (class numbers or texts) are
    # correct(inputs, answers) -> [N] class numbers or texts: the same to accept, another to fix, -1 or "" to abstain
    # save(folder) / restore(folder, context): so that a mitigation can go on asking the frozen supervisor


@dataclass
class Backbone:
    """A pretrained network before its head is put on."""

    module: torch.nn.Module
    """(input_ids [B, T], attention_mask [B, T]) -> one pooled feature vector per text [B, width].

    For generation tasks also `states(input_ids [B, T], rows [R]) -> [R, width]`, what a causal network knows at flat
    positions of texts padded on the right, and `lm_logits(states) -> [R, V]`, of the token after each.
    """
    encode: Callable[[list[str]], list[list[int]]]
    """Texts to token ids, without padding."""
    pad_id: int
    width: int
    identity: dict[str, str] = field(default_factory=dict)
    """Name and revision or digest, for the record; never a machine's path."""
    padding_side: str = "right"
    max_length: int | None = None
    """Longest input the network takes, in tokens."""
    decode: Callable[[list[list[int]]], list[str]] | None = None
    """Generation tasks: token ids to texts."""
    end_id: int | None = None
    """Generation tasks: the token that ends an answer."""
    encode_answers: Callable[[list[str]], list[list[int]]] | None = None
    """Generation tasks: answers to token ids, as they follow a prompt; `encode` where none is given."""


@dataclass(frozen=True)
class Tuning:
    """How a student is tuned. Every student has these options; a plugin's own default of the same name wins."""

    tune: str = "full"
    """`full` trains every weight, `probe` a linear head on frozen features, `lora` low-rank adapters and the head."""
    body_lr: float = 5e-5
    """Peak learning rate of the pretrained weights."""
    head_lr: float = 3e-3
    """Peak learning rate of the new head."""
    max_length: int = 512
    """Tokens kept of a text, from its start."""
    replicate: int = 0
    """Changes the student's seed alone, to measure its noise."""


@runtime_checkable
class Student(Protocol):
    """A strong model: a backbone and the way it is tuned. Optional: `Options`, `fingerprint`, `kinds`, `pretrained`.

    `pretrained = True`: every seed loads the same weights, which the options and `fingerprint` identify. A probe whose
    features are in the cache then loads none.
    """

    def backbone(self, seed: int) -> Backbone:
        """Returns a fresh copy of the pretrained network; `seed` matters only where weights are drawn at random."""


@runtime_checkable
class Mitigation(Protocol):
    """Changes how the student learns: a class with any subset of the mitigation hooks, built as `cls(options)`.

    Class attributes, all optional: `Options` (a dataclass), `needs` (a set out of NEEDS), `honours` (hooks that a
    `fit_student` of its own still asks), `kinds` (of task that it serves, KINDS_WITH_CLASSES where it does not say),
    `control` (True for a control, which is no method), `source` (the paper), `search` (option: values, for tuning).
    """


ASKED = ("correct", "label", "reward")
"""Needs that a supervisor meets by offering a method of that name, and by coming back from what it saved."""
TRUTH = ("ground_truth", "transfer_truth")
NEEDS = frozenset({*ASKED, *TRUTH, "features", "several_supervisors", "intermediate_students"})


@dataclass(frozen=True)
class Round:
    """One fit of one student."""

    student: str = "strong"
    """`strong`, or a name out of `students`."""
    labels: str = "votes"
    """`votes` (combined), or `previous` (what the last round's student predicts)."""
    objective: str = "labels"
    """`labels`, or `text`: the language-model loss on transfer and unlabelled texts, without labels or other hooks."""
    examples: Any = None
    """Positions in the pool [any number], or None for all."""
    fresh: bool = True
    """A new student, or (False) the last round's, trained on."""
    lr_scale: float = 1.0
    """Factor on both learning rates."""
    share: float = 1.0
    """Share of the protocol's steps that this round takes."""
    previous: Any = None
    """Set by the harness: the last round's fitted student, None in the first."""
    index: int = 0
    """Set by the harness: 0 for the first round."""


def options_of(cls: type) -> type | None:
    """Returns a plugin's options dataclass, or None where it has no options."""
    return getattr(cls, "Options", None)


def build(cls: type, options: dict[str, Any]) -> Any:
    """Returns a plugin object made from the options that its own dataclass declares."""
    declared = options_of(cls)
    names = {f.name for f in fields(declared)} if declared else set()
    return cls(declared(**{k: v for k, v in options.items() if k in names})) if declared else cls()
