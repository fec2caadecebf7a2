"""Every mitigation has a constructed case: what it is for goes wrong, naive repeats it, and it must do better.

Over five seeds, the mean by a margin and four seeds or more. A case shows that a method does what its theory says where
the theory holds; what it does where nobody arranged that, the published boards say.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.behaviour import SEEDS, Case, Speaking, flipped
from support.bench import data, student_of
from support.writing import share_right

from w2s_bench.conformance.toy import VALUES, WORDS
from w2s_bench.registry import load

EXTREMES = [WORDS[int(VALUES.argmin())], WORDS[int(VALUES.argmax())]]
LESS_LOSS = {"measure": "log loss"}
CASES: dict[str, Case] = {
    # the supervisor is unsure where it is wrong
    "aux_confidence": Case("doubts", 8, 0.04),
    "adaptive_confidence": Case("doubts", 8, 0.02, options={"temperature": 1.0}),
    "self_entropy": Case("doubts", 8, 0.03, options={"alpha_max": 0.9}),
    "product": Case("doubts", 8, 0.06),
    "confidence_filter": Case("doubts", 8, 0.05),
    "confidence_window": Case("doubts", 8, 0.05),
    "overlap_density": Case("doubts", 8, 0.03),
    "easy_to_hard": Case("doubts", 1, 0.02),
    "mdl_curriculum": Case("doubts", 6, 0.015, knows=3.0),
    "bayesian_ensemble": Case("doubts", 8, 0.03),
    # labels are flipped at random, and the student learns them by heart
    "early_stopping": Case("doubts", 16, 0.03),
    "sce": Case("doubts", 8, 0.04),
    "gce": Case("flips", 8, 0.04, knows=3.0),
    "elr": Case("flips", 8, 0.05, knows=3.0),
    "f_divergence": Case("sure flips", 8, 0.08, knows=3.0, options={"divergence": "tv"}),
    "reverse_kl": Case("hard flips", 20, 0.06, knows=3.0),
    "self_paced": Case("flips", 20, 0.005, knows=3.0),
    "dividemix": Case("doubts", 8, 0.06),
    "co_teaching": Case("noise", 20, 0.05, knows=0, options={"forget_rate": 0.4}),
    "mixup": Case("hard flips", 8, 0.02, **LESS_LOSS),
    "label_smoothing": Case("hard flips", 20, 0.1, **LESS_LOSS),
    "temperature": Case("sure flips", 20, 0.1, **LESS_LOSS),
    "self_distillation": Case("hard flips", 12, 0.03, options={"rounds": 4}, **LESS_LOSS),
    "epiplexity": Case("hard flips", 20, 0.1, options={"early": 0.1, "smoothed": 0.4}, **LESS_LOSS),
    "confident_learning": Case("flips", 8, 0.05, knows=3.0),
    "selective": Case("flips", 8, 0.015, knows=3.0),
    "two_stage": Case("flips", 8, 0.05, knows=3.0),
    "reliability_weights": Case("flips", 8, 0.01, knows=3.0),
    # what the student already knows tells right labels from wrong ones
    "knn_filter": Case("flips", 8, 0.04, knows=3.0),
    "knn_relabel": Case("flips", 8, 0.08, knows=3.0),
    "topo_filter": Case("flips", 8, 0.04, knows=3.0),
    "em_posterior": Case("flips", 8, 0.02, knows=3.0),
    "logreg_relabel": Case("flips", 20, 0.08, knows=3.0, options={"l2": 1.0}),
    "head_from_words": Case("fewer flips", 0.2, 0.05, knows=3.0, options={"words": {"toy": EXTREMES}}),
    "linear_probe_after": Case("fewer flips", 2, 0.015, recipe={"head_lr": 1e-4, "body_lr": 1e-3}),
    "ccs": Case("mostly flips", 4, 0.1, options={"words": {"toy": EXTREMES}}, student=Speaking(3.0)),
    "generative_finetuning": Case("topics", 2, 0.05, knows=0, options={"share": 4.0}),
    # a timid supervisor, a smaller student that forgets less, supervisors who know different words
    "sharpen": Case("timid", 1, 0.05, **LESS_LOSS),
    "bootstrapping": Case("fewer flips", 20, 0.04, options={"intermediate": ["toy_small"]}, small=(1.0, 2)),
    "mean_ensemble": Case("three", 4, 0.05),
    "product_ensemble": Case("three", 4, 0.05),
    "majority_vote": Case("three", 4, 0.05),
    "dawid_skene": Case("three", 4, 0.05),
    "snorkel_label_model": Case("three", 4, 0.05),
    "raven": Case("three", 4, 0.05),
    "co_supervised": Case("three", 4, 0.05),
    # somebody says what is right: a critic, a judge, a meta set, true labels
    "corrective_feedback": Case("better critic", 8, 0.1, options={"critic": 1}),
    "reward_labels": Case("better critic", 8, 0.1, options={"critic": 1}),
    "meta_weight_net": Case("two", 8, 0.06, options={"lr": 1e-2}),
    "learning_to_reweight": Case("two", 16, 0.05),
    "meta_label_correction": Case("two one-sided", 16, 0.04),
    "meta_weight_net_gold": Case("noise", 8, 0.08, options={"lr": 1e-2}, gold=200),
    "learning_to_reweight_gold": Case("noise", 8, 0.05, gold=200),
    "meta_label_correction_gold": Case("one-sided", 8, 0.08, gold=200),
    "mixed_ground_truth": Case("noise", 8, 0.03, knows=0, gold=200),
}
WRITTEN = {"best_of_n": 0.1, "reward_training": 0.05}
"""Margins on answers in words, of which the supervisor has most backwards; a judge knows better."""
ELSEWHERE = {"icm"}
"""test_icm.py has its case: labels that predict each other are the classes where the supervisor's are mostly wrong."""
AT_ZERO = [
    ("identity", {}),
    ("aux_confidence", {"alpha_max": 0}),
    ("self_entropy", {"alpha_max": 0}),
    ("label_smoothing", {"epsilon": 0}),
    ("temperature", {"temperature": 1}),
    ("sharpen", {"temperature": 1}),
    ("sce", {"alpha": 1, "beta": 0}),
    ("elr", {"strength": 0}),
    ("mixup", {"alpha": 0}),
    ("epiplexity", {"smoothed": 0}),
    ("confidence_filter", {"keep": 1}),
    ("knn_filter", {"contamination": 0}),
    ("reliability_weights", {"drop": 0}),
    ("em_posterior", {"rounds": 0}),
    ("self_paced", {"start": 1, "end": 1}),
    ("early_stopping", {"checks": 1}),
    ("self_distillation", {"rounds": 1}),
    ("corrective_feedback", {"rounds": 1}),
    ("bootstrapping", {"intermediate": []}),
]
"""Of each mitigation whose options go to nothing: the options at which nothing is left."""


def test_every_mitigation_has_a_case():
    names = {e.name for e in load([]).entries("mitigation") if not getattr(e.cls, "control", False)}
    assert names - {"naive"} == set(CASES) | set(WRITTEN) | ELSEWHERE


def naive(case_of: str) -> np.ndarray:
    case = replace(CASES[case_of], margin=0.0, options={}, small=None, gold=0)  # naive looks at nothing of these
    if repr(case) not in NAIVE:
        NAIVE[repr(case)] = case.run("naive")
    return NAIVE[repr(case)]


NAIVE: dict[str, np.ndarray] = {}
"""What naive comes to, by the case: many mitigations share theirs."""


@pytest.mark.parametrize("name", CASES)
def test_it_does_better_than_naive_where_its_theory_holds(name):
    ours, plain = CASES[name].run(name), naive(name)
    assert ours.mean() > plain.mean() + CASES[name].margin, (plain, ours)
    assert (ours > plain).sum() >= len(SEEDS) - 1, (plain, ours)


@functools.cache
def naive_answers() -> np.ndarray:
    return np.array([share_right([], seed) for seed in SEEDS])


@pytest.mark.parametrize("name", WRITTEN)
def test_a_judge_mends_answers_that_are_mostly_wrong(name):
    made = load([]).get("mitigation", name)
    members = [(name, lambda: made.build({**made.options, "critic": 1}))]
    ours, plain = np.array([share_right(members, seed) for seed in SEEDS]), naive_answers()
    assert ours.mean() > plain.mean() + WRITTEN[name], (plain, ours)
    assert (ours > plain).sum() >= len(SEEDS) - 1, (plain, ours)


# --- at strength zero


@functools.cache
def untouched() -> torch.Tensor:
    return student_of([], [flipped(0.3)]).predict(data()["test"].inputs)


@pytest.mark.parametrize(("name", "options"), AT_ZERO, ids=[name for name, _ in AT_ZERO])
def test_at_strength_zero_it_is_naive_bit_for_bit(name, options):
    made = load([]).get("mitigation", name)
    student = student_of([(name, lambda: made.build({**made.options, **options}))], [flipped(0.3)])
    assert torch.equal(student.predict(data()["test"].inputs), untouched())
