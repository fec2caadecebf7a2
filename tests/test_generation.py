"""Generation: answers in words as candidates of an example, from the language model's probabilities to the record."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from support.generation import PROMPTS, TASK, inputs_of
from support.referee_bench import Bench as RefereeBench
from support.referee_bench import permute_truth

from w2s_bench import exchange
from w2s_bench.cells import Cell, Entry
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Backbone, FitContext, Inputs, Recipe, Sizes, Split
from w2s_bench.plugins.ladder import rungs
from w2s_bench.plugins.supervisors.ladder import LadderSupervisor
from w2s_bench.plugins.tasks.sandbox import SumsGen
from w2s_bench.referee.engines import PRELOAD, LocalEngine
from w2s_bench.referee.prepare import check_splits
from w2s_bench.referee.scoring import Answers, score
from w2s_bench.referee.sweep import run_cells
from w2s_bench.registry import load
from w2s_bench.store.verify import verify_store
from w2s_bench.training.answers import with_candidates
from w2s_bench.training.batches import Batch
from w2s_bench.training.finetune import finetune, hard_labels
from w2s_bench.training.meter import Meter
from w2s_bench.training.stack import Stack
from w2s_bench.training.step import TrainableStudent

torch.set_num_threads(1)
RUNG = rungs.WEIGHTS / "xs-0-sal0.3"
ANSWERS = [["tens 4 units 8", "units 0", "4", ""], ["units 8", "tens 0 units 0", "5 6", "4 hundreds 8"]]


def student_of(**recipe) -> TrainableStudent:
    """Returns a rung that answers, with a head that is not zero."""
    student = TrainableStudent(Stack([], {}), rungs.load_backbone(RUNG), TASK, Recipe(**recipe), 0, Meter())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        student.classifier.head.weight.copy_(0.05 * torch.randn(24, 24, generator=generator))
    return student


def reference_log_p(student: TrainableStudent, prompt: str, answer: str) -> float:
    """Returns log p(answer and its end | prompt) in float64, word by word, by the library's own GPT-2."""
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(RUNG).double().eval()
    head = student.classifier.head.double()
    ids, after = (student.backbone.encode([t])[0] for t in (prompt, answer))
    total = 0.0
    with torch.no_grad():
        for word in [*after, 0]:
            state = model.transformer(torch.tensor([ids])).last_hidden_state[0, -1]
            total += float((model.lm_head(state + head(state))).log_softmax(-1)[word])
            ids = [*ids, word]
    head.float()
    return total


# --- the language model


def test_candidates_have_the_probabilities_of_the_language_model():
    student = student_of()
    inputs, votes = with_candidates(inputs_of(), ANSWERS)
    assert votes.shape == (2, 4, 4) and votes[0, 3].isnan().all()
    p = student.predict(inputs).numpy()
    expected = np.zeros((4, 4))
    for n, prompt in enumerate(PROMPTS):
        for s, answers in enumerate(ANSWERS):
            if answers[n]:
                expected[n, s] = np.exp(reference_log_p(student, prompt, answers[n]))
    expected[:, 3] = 1 - expected.sum(1)
    np.testing.assert_allclose(p, expected, rtol=2e-3, atol=1e-7)
    whole = student.log_likelihood(inputs_of(), ["", *ANSWERS[1][1:]])
    assert whole[0] == pytest.approx(reference_log_p(student, PROMPTS[0], ""), abs=1e-3)
    assert whole[3] == pytest.approx(reference_log_p(student, PROMPTS[3], ANSWERS[1][3]), abs=1e-3)


def batch_for(student, inputs, labels) -> Batch:
    index = np.arange(len(inputs))
    fed = student.batch_inputs(inputs, index)
    return Batch(torch.from_numpy(index), fed, labels, torch.ones(len(inputs)), labels[None])


def test_a_sure_label_is_learnt_as_a_language_model_learns_a_text():
    """The gradient of the loss is that of the words' cross-entropy: what is left for other texts adds nothing."""
    student = student_of()
    inputs, votes = with_candidates(inputs_of(PROMPTS[:2]), [[a[0], a[1]] for a in ANSWERS])
    student.losses(batch_for(student, inputs, votes[0]), 0.0).sum().backward()
    found = {n: p.grad.clone() for n, p in student.classifier.named_parameters() if p.grad is not None}
    student.zero_grad()
    whole = Inputs(inputs.ids, [f"{t} {a}" for t, a in zip(inputs.text, ANSWERS[0][:2], strict=True)])
    for text, start in zip(student.backbone.encode(whole.text), (8, 8), strict=True):
        ids = torch.tensor([text])
        logits = student.classifier.lm_logits(ids, torch.arange(start - 1, len(text)))
        after = torch.tensor([*text[start:], 0])
        torch.nn.functional.cross_entropy(logits, after, reduction="sum").backward()
    for name, weight in student.classifier.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_micro_batches_hold_their_own_candidates(parts):
    student = student_of()
    inputs, votes = with_candidates(inputs_of(), ANSWERS)
    batch = batch_for(student, inputs, votes[1])
    losses = torch.cat([student.losses(b, 0.0) * b.weights for b in batch.split(parts)])
    torch.testing.assert_close(losses[losses > 0], student.losses(batch, 0.0))


def test_greedy_answers_are_the_likeliest_word_at_every_step():
    from transformers import GPT2LMHeadModel

    student = student_of()
    model, head = GPT2LMHeadModel.from_pretrained(RUNG).eval(), student.classifier.head
    expected = []
    for ids in student.backbone.encode(PROMPTS):
        start = len(ids)
        with torch.no_grad():
            while len(ids) <= 16:
                state = model.transformer(torch.tensor([ids])).last_hidden_state[0, -1]
                word = int(model.lm_head(state + head(state)).argmax())
                if word == 0:
                    break
                ids = [*ids, word]
        expected.append(student.backbone.decode([ids[start:]])[0])
    assert student.answer(inputs_of()) == expected
    assert any(expected) and student_of(max_length=8).answer(inputs_of(PROMPTS[:1]))[0].count(" ") == 0


def test_drawn_answers_come_as_often_as_they_are_likely():
    student, n = student_of(max_length=10), 3000  # one digit and one word more, or an end
    drawn = student.answer(inputs_of([PROMPTS[3]] * n), torch.Generator().manual_seed(0))
    assert drawn == student.answer(inputs_of([PROMPTS[3]] * n), torch.Generator().manual_seed(0))
    texts, counts = np.unique(drawn, return_counts=True)
    often = counts.argsort()[::-1][:5]
    p = np.exp(student.log_likelihood(inputs_of([PROMPTS[3]] * 5), texts[often].tolist()))
    assert (abs(counts[often] / n - p) < 4 * np.sqrt(p / n)).all()


def test_answers_are_learnt_and_come_back(tmp_path):
    """Units of a sum, which this rung knows."""
    splits = SumsGen().load(0, Sizes(960, 10, 10, 200))[1]
    train, test = splits["supervision"], splits["test"]
    units = [np.array([" ".join(t.split()[2:]) for t in split.truth]) for split in (train, test)]
    supervisor = LadderSupervisor(LadderSupervisor.Options(size="s"))
    context = FitContext(TASK, 0, Recipe(epochs=4, head_lr=1e-2))
    supervisor.fit(train.inputs, units[0], context)
    answers = supervisor.answer(test.inputs)
    assert (answers == units[1]).mean() > 0.8
    rewards = supervisor.reward(test.inputs, answers)
    assert (rewards >= supervisor.reward(test.inputs, np.roll(answers, 1)) - 1e-6).all() and (rewards < 0).all()
    wrong = np.where(units[1] == "units 1", "units 2", "units 1")
    verdicts = supervisor.correct(test.inputs, wrong)
    assert (supervisor.correct(test.inputs, answers) == answers).all()
    assert set(verdicts) <= {*answers, ""} and not (verdicts[answers == units[1]] == wrong[answers == units[1]]).any()
    supervisor.save(tmp_path)
    again = LadderSupervisor(LadderSupervisor.Options(size="s"))
    again.restore(tmp_path, context)
    assert (again.answer(test.inputs) == answers).all()


def test_a_body_that_writes_nothing_is_named():
    mute = replace(rungs.load_backbone(RUNG), decode=None)
    assert isinstance(mute, Backbone)
    with pytest.raises(W2SError, match=r"ladder-xs-0-sal0\.3 generates no text"):
        finetune(mute, *hard_labels(TASK, inputs_of(), np.array(ANSWERS[1])), FitContext(TASK, 0, Recipe()))
    with pytest.raises(W2SError, match="without candidate answers"):
        student_of().predict(inputs_of())


# --- the referee


def test_splits_of_texts_are_checked():
    def splits(truth):
        return {
            s: Split(Inputs([s], ["3 +"]), np.array(truth)) for s in ("supervision", "transfer", "validation", "test")
        }

    assert check_splits("t", [], splits(["a"]), "generation") == []
    with pytest.raises(W2SError, match="gives the class names"):
        check_splits("t", ["a", "b"], splits(["a"]), "generation")
    for truth in ([""], [3]):
        with pytest.raises(W2SError, match="has the answer"):
            check_splits("t", [], splits(truth), "generation")
    with pytest.raises(W2SError, match="truth of shape"):
        check_splits("t", [], splits(["a", "b"]), "generation")


def test_score_of_texts_by_hand():
    answers = Answers(
        test_truth=np.array(["a", "b", "c", "d"]),
        transfer_truth=np.array(["a", "b"]),
        floors=[np.array(["A", "x", "", "y"]), np.array(["a", "b", "c", "z"])],
        labels=np.array(["a", ""]),
        validation_labels=np.array(["a", "", "c"]),
        student=np.array(["a", "x", "c", "y"]),
        student_on_transfer=np.array(["b", "b"]),
        student_on_validation=np.array(["a", "b", "x"]),
        ceiling=np.array(["a", "b", "c", "z"]),
        check=lambda answer, truth, text: answer.lower() == truth and text.startswith("q"),
        test_texts=["q1", "q2", "q3", "q4"],
        transfer_texts=["q5", "q6"],
    )
    scored = score(answers, {}, "accuracy", same_for_all_seeds=False)
    test = scored["test"]
    assert [test[side] for side in ("floor", "student", "ceiling")] == [{"accuracy": a} for a in (0.25, 0.5, 0.75)]
    assert test["joint"] == {"000": 1, "001": 1, "010": 0, "011": 1, "100": 0, "101": 0, "110": 0, "111": 1}
    assert test["agreement"] == pytest.approx({"all": 0.5, "supervisor_right": 0.0, "supervisor_wrong": 2 / 3})
    # errors of the two on the three that both answered: 0 1 1 and 0 0 1, whose correlation is 1/2
    apart = {"kappa": 0.0, "double_fault": pytest.approx(1 / 3), "effective": pytest.approx(2 / 1.5)}
    assert test["supervisors"] == {"mean": 0.5, "best": 0.75, **apart} and scored["pgr"] == pytest.approx(0.5)
    accuracies = {"label_accuracy": 0.5, "student_accuracy": 0.5, "student_accuracy_label_wrong": 1.0}
    assert scored["transfer"] == {"n": 2, **accuracies}


def test_a_generation_cell_from_truth_to_record(tmp_path):
    """Right or wrong by the task's check; no probability in predictions; hidden truth changes no answer."""
    registry = load()

    def entry(kind, name, **options):
        return Entry(name, {**registry.get(kind, name).options, **options})

    sizes = {"n_supervision": 96, "n_transfer": 96, "n_validation": 10, "n_test": 60}
    weak, strong = (entry("supervisor", "ladder_xs_0"),), entry("student", "ladder_xs", body_lr=1e-3)
    stacks = ("naive", "identity", "best_of_n", "corrective_feedback")
    task = entry("task", "sums_gen", **sizes)
    bench, engine = RefereeBench(tmp_path), LocalEngine(2, 300.0, 1, PRELOAD)
    run = bench.run_of(*(Cell(task, weak, strong, (entry("mitigation", m),), 0) for m in stacks))

    def go():
        console = Console(file=io.StringIO())
        assert run_cells(run, registry, console=console, engine=engine).ok == 4, console.file.getvalue()
        return {r["cell"]["mitigations"][0]["name"]: r for r in bench.records()}

    try:
        before = go()
        assert verify_store(bench.store).ok
        truth = dict(zip(*(lambda s: (s.inputs.ids, s.truth))(_test_split(sizes)), strict=True))
        for record in before.values():
            assert set(record["test"]["student"]) == {"accuracy"} and "predicted_rates" not in record["test"]["student"]
            predicted = exchange.read_predictions(bench.store / record["predictions"]["path"])["test"]
            right = [SumsGen().check(a, str(truth[i]), "") for i, a in zip(*predicted, strict=True)]
            assert record["test"]["student"]["accuracy"] == np.mean(right)
        assert before["naive"]["predictions"]["sha256"] == before["identity"]["predictions"]["sha256"]
        assert before["best_of_n"]["cost"]["supervisor_calls"] == 4 * 96
        permute_truth(bench)
        shutil.rmtree(bench.store)
        for kind in ("train", "ceiling"):
            shutil.rmtree(bench.cache / "referee" / kind)
        after = go()
        assert {m: r["predictions"] for m, r in after.items()} == {m: r["predictions"] for m, r in before.items()}
        assert str(tmp_path) not in json.dumps(list(after.values()))
    finally:
        engine.close()


def _test_split(sizes):
    from w2s_bench.seeds import derive

    return SumsGen().load(derive(0, "split"), Sizes(**sizes))[1]["test"]
