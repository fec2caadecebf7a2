"""A small budget of true labels, learnt beside the weak ones or after them."""

from dataclasses import dataclass, replace

from w2s_bench import hookimpl


class MixedGroundTruth:
    """A student that learns from weak labels and from the gold budget, on the track of those that use truth.

    Source: EleutherAI/scalable-elicitation (weak labels first, then few-shot finetuning on gold ones). Formula:
    `after`: the usual steps on weak labels, then steps on gold batches for `share` of them; `mixed`: a gold batch
    after every 1 / `share` weak ones. Gold batches are drawn at random and learnt by cross-entropy, in the protocol's
    batch size, within the protocol's number of steps. Defaults: `after`, a quarter of the steps, fixed before any
    run. Needs task.n_gold. Cost: 1 and the gold labels.
    """

    source = "EleutherAI/scalable-elicitation"
    search = {"when": ["after", "mixed"], "share": [0.1, 0.25, 0.5]}
    needs = frozenset({"ground_truth"})
    honours = frozenset({"order_examples", "training_batch"})

    @dataclass
    class Options:
        when: str = "after"
        """`after` the weak labels or `mixed` with them."""
        share: float = 0.25
        """Share of the steps that gold batches take."""

        def __post_init__(self):
            if self.when not in ("after", "mixed") or not 0 < self.share < 1:
                raise ValueError(f"when must be after or mixed and share in (0, 1), not {self.when} and {self.share}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def fit_student(self, problem):
        """Returns the student."""
        import torch

        student = problem.new_student()
        inputs, labels = problem.pool.gold
        gold_steps = round(self.options.share * problem.steps)
        first_gold = problem.steps - gold_steps
        for step, (batch, progress) in enumerate(problem.batches()):
            if self.options.when == "after":
                gold = step >= first_gold
            else:
                gold = int((step + 1) * self.options.share) > int(step * self.options.share)
            if gold:
                drawn = torch.randint(len(labels), (len(batch.labels),), generator=problem.pool.rng)
                logits = student.logits(inputs, drawn, params=student.trainable())
                losses = torch.nn.functional.cross_entropy(logits, labels[drawn].to(logits), reduction="none")
                student.step(losses, replace(batch, weights=torch.ones(len(drawn))))
            else:
                student.step(student.losses(batch, progress), batch)
        return student


@hookimpl
def register_mitigations(register):
    register("mixed_ground_truth", MixedGroundTruth)
