"""The student of the best moment, by its agreement with the weak labels of the validation split."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class EarlyStopping:
    """A student whose weights are those of the check at which it agreed most with weak validation labels.

    Source: Burns et al. 2023, arXiv 2312.09390, section 5.1, where early stopping by ground truth is an upper bound;
    here the labels are weak, so that no truth is used. Formula: after each of `checks` equal parts of the training,
    the cross-entropy of the student against the validation labels as the stack combines them; the least wins, the
    earliest of equals. Training itself, its schedule included, runs to its end. Default: 10 checks, fixed before any
    run. Cost: 1 and the checks.
    """

    source = "Burns et al. 2023, arXiv 2312.09390"
    search = {"checks": [5, 10, 20]}
    honours = frozenset({"order_examples", "training_batch", "training_targets", "training_loss"})

    @dataclass
    class Options:
        checks: int = 10
        """How often the student is checked, the end included."""

        def __post_init__(self):
            if self.checks < 1:
                raise ValueError(f"checks must be 1 or more, not {self.checks}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def fit_student(self, problem):
        """Returns the student with the best weights."""
        labels = problem.pool.validation_labels
        known = ~labels.isnan().any(-1)
        student, best, kept = problem.new_student(), None, {}
        every = max(1, problem.steps // self.options.checks)
        for step, (batch, progress) in enumerate(problem.batches(), 1):
            student.step(student.losses(batch, progress), batch)
            if step % every == 0 or step == problem.steps:
                p = student.predict(problem.pool.validation)[known].clamp(min=1e-8)
                loss = float(-(labels[known] * p.log()).sum(-1).mean())
                if best is None or loss < best:
                    best = loss
                    kept = {name: weight.detach().clone() for name, weight in student.trainable().items()}
        for name, weight in student.trainable().items():
            weight.data.copy_(kept[name])
        return student


@hookimpl
def register_mitigations(register):
    register("early_stopping", EarlyStopping)
