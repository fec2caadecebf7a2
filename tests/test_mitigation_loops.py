"""Mitigations that ask a critic or bring a loop of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.bench import RECIPE, accuracy, data, student_of, supervisor
from support.mitigations import member, rounds_of

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import build
from w2s_bench.plugins.mitigations import meta_weight_net
from w2s_bench.plugins.mitigations.aux_confidence import AuxConfidence
from w2s_bench.plugins.mitigations.co_teaching import CoTeaching
from w2s_bench.plugins.mitigations.corrective_feedback import CorrectiveFeedback
from w2s_bench.plugins.mitigations.easy_to_hard import EasyToHard
from w2s_bench.plugins.mitigations.gce import GeneralizedCrossEntropy
from w2s_bench.registry import load
from w2s_bench.registry.stacking import check_stack
from w2s_bench.training.meter import Meter

QUICK = replace(RECIPE, epochs=0.2)


# --- corrective feedback


class Critic:
    """A supervisor whose verdict is the same rule for all."""

    def __init__(self, verdict):
        self.verdict = verdict
        self.asked = 0

    def label(self, inputs):
        return supervisor().label(inputs)

    def correct(self, inputs, answers):
        self.asked += len(inputs)
        return self.verdict(answers)


@pytest.mark.parametrize("rounds", [2, 4])
def test_corrective_feedback_asks_about_each_later_shard_once(rounds):
    critic, meter = Critic(lambda answers: answers), Meter()
    feedback = member("cf", CorrectiveFeedback, rounds=rounds)
    _, seen = rounds_of(feedback, supervisors=[critic], meter=meter, recipe=replace(RECIPE, epochs=1))
    shards = [set(plan.examples.tolist()) for plan, _ in seen]
    assert len(shards) == rounds and set().union(*shards) == set(range(480)) and sum(map(len, shards)) == 480
    assert critic.asked == meter.supervisor_calls == 480 - len(shards[0])
    for plan, labels in seen[1:]:  # accepted answers become labels
        answers = plan.previous.predict(data()["transfer"].inputs.take(plan.examples)).argmax(-1)
        assert torch.equal(labels[plan.examples].argmax(-1), answers)
        assert labels[plan.examples].amax(-1).tolist() == [1.0] * len(plan.examples)


def test_corrective_feedback_takes_corrections():
    critic = Critic(lambda answers: 1 - answers)
    _, seen = rounds_of(member("cf", CorrectiveFeedback), supervisors=[critic], recipe=QUICK)
    for plan, labels in seen[1:]:
        answers = plan.previous.predict(data()["transfer"].inputs.take(plan.examples)).argmax(-1)
        assert torch.equal(labels[plan.examples].argmax(-1), 1 - answers)


def test_corrective_feedback_leaves_out_what_the_critic_leaves_open():
    seen = []

    class Look:
        @hookimpl
        def fit_student(self, problem):
            seen.append((problem.plan, problem.weights, problem.labels))
            return problem.new_student()

    def half(answers):
        return np.where(np.arange(len(answers)) % 2, answers, -1)

    stack = [member("cf", CorrectiveFeedback), ("look", Look)]
    student_of(stack, [Critic(half)], recipe=QUICK)
    for plan, weights, _ in seen[1:]:
        assert set(weights.nonzero()[:, 0].tolist()) == set(plan.examples[1::2].tolist())


def test_corrective_feedback_under_a_silent_critic_goes_on_with_the_weak_labels():
    critic = Critic(lambda answers: np.full(len(answers), -1))
    student, seen = rounds_of(member("cf", CorrectiveFeedback), supervisors=[critic])
    weak = torch.from_numpy(critic.label(data()["transfer"].inputs)).float()
    assert all(torch.equal(labels, weak) for _, labels in seen) and len(seen) == 4
    assert accuracy(student) > 0.7  # chance is .5


def test_corrective_feedback_needs_a_supervisor_that_corrects():
    class Mute:
        label = Critic.label

    with pytest.raises(W2SError, match="supervisor toy_0 offers no `correct`"):
        student_of([member("cf", CorrectiveFeedback)], [Mute()], recipe=QUICK)


# --- loops of their own beside other mitigations


def counting(cls, hook, calls, **options):
    """Returns a member whose calls of one hook are counted."""

    class Counting(cls):
        pass

    own = getattr(cls, hook)
    wrapper = own.w2s_bench_impl["wrapper"]

    if wrapper:

        def counted(self, batch, logits, progress):
            calls[hook] = calls.get(hook, 0) + 1
            return (yield from own(self, batch, logits, progress))
    else:

        def counted(self, logits, targets):
            calls[hook] = calls.get(hook, 0) + 1
            return own(self, logits, targets)

    setattr(Counting, hook, hookimpl(wrapper=wrapper)(counted))
    return cls.__name__, lambda: build(Counting, options)


def test_co_teaching_asks_the_hooks_that_it_honours():
    calls: dict[str, int] = {}
    stack = [
        member("co_teaching", CoTeaching),
        counting(GeneralizedCrossEntropy, "training_loss", calls),
        counting(AuxConfidence, "training_targets", calls),
        member("easy_to_hard", EasyToHard),
    ]
    meter = Meter()
    student = student_of(stack, [supervisor()], meter=meter)
    assert calls == {"training_loss": 60, "training_targets": 60} and meter.steps == 60  # two twins, 30 steps each
    assert accuracy(student) > 0.65


def test_stacks_that_cannot_compose_are_refused_by_name():
    registry = load()
    assert not registry.broken

    def check(*names, supervisors=3):
        check_stack([registry.get("mitigation", n) for n in names], supervisors)

    check("co_teaching", "gce", "aux_confidence")
    check("easy_to_hard", "confidence_filter", "gce", "aux_confidence")
    with pytest.raises(UsageError, match="'co_teaching' and 'meta_weight_net' both claim the hook `fit_student`"):
        check("co_teaching", "meta_weight_net")
    with pytest.raises(UsageError, match="'self_distillation' and 'corrective_feedback' both claim"):
        check("self_distillation", "corrective_feedback")
    with pytest.raises(UsageError, match="'mean_ensemble' needs several supervisors"):
        check("mean_ensemble", supervisors=1)


# --- what it has learnt


def test_meta_weight_net_distrusts_what_the_student_finds_hard(monkeypatch):
    made = []
    network = meta_weight_net.network
    monkeypatch.setattr(meta_weight_net, "network", lambda *how: made.append(network(*how)) or made[-1])
    weights = member("mwn", meta_weight_net.MetaWeightNet, lr=1e-2)
    for seed in range(5):  # of the votes 30 % and 20 % are wrong, of those that agree 10 %
        two = [supervisor(seed, flips=0.3), supervisor(seed, flips=0.2, salt="b")]
        student_of([weights], two, seed, replace(RECIPE, epochs=8))
    with torch.no_grad():
        easy, hard = torch.stack([net(torch.tensor([[0.1], [3.0]]))[:, 0] for net in made]).unbind(1)
    assert bool((hard < 0.5 * easy).all())
