"""A head that starts as the language model's own rows for the words of the classes."""

from dataclasses import dataclass, field

from w2s_bench import hookimpl


@dataclass
class Words:
    words: dict[str, list[str]] = field(default_factory=dict)
    """By task, one word a class in their order, to take its place in a text; its class names where there are none."""

    def of(self, task):
        """Returns the words of a task's classes; ValueError where they are not one each."""
        words = self.words.get(task.name) or task.class_names
        if len(words) != len(task.class_names):
            raise ValueError(f"words needs {len(task.class_names)}, one a class of {task.name}, not {len(words)}")
        return list(words)


class HeadFromWords:
    """Naive finetuning whose head starts as what the language model would say: its output rows for the class names.

    Source: Burns et al. 2023, arXiv 2312.09390 (the head of a two-class task starts from the unembedding). Formula: row
    c of the head is the output embedding of the first token of class c's word, biases are 0. Needs a student that is a
    language model. Default: the class names. Words that begin alike
    start alike. Cost: 1.
    """

    source = "Burns et al. 2023, arXiv 2312.09390"
    kinds = frozenset({"classification"})
    honours = frozenset({"order_examples", "training_batch", "training_targets", "training_loss"})

    Options = Words

    def __init__(self, options):
        self.options = options

    @hookimpl
    def fit_student(self, problem):
        """Returns the student."""
        student = problem.new_student()
        start_from_words(student, self.options, problem)
        for batch, progress in problem.batches():
            student.step(student.losses(batch, progress), batch)
        return student


class ZeroShot(HeadFromWords):
    """The student as prompted, without any training: the class whose word the language model finds likeliest next.

    Source: Brown et al. 2020, arXiv 2005.14165. Formula: as `head_from_words` starts, and no step is taken; supervisors
    are not asked. What is asked is the student's `prompt`. A row to compare the others with. Cost: 0.
    """

    source = "Brown et al. 2020, arXiv 2005.14165"
    honours: frozenset[str] = frozenset()
    control = True

    @hookimpl
    def fit_student(self, problem):
        """Returns the student."""
        student = problem.new_student()
        start_from_words(student, self.options, problem)
        return student


def start_from_words(student, options, problem):
    """Makes the head what the language model says: its output rows for each word's first token, without biases."""
    import torch

    body, head = student.classifier.body, student.classifier.head
    if not callable(getattr(body, "lm_logits", None)):
        raise ValueError(
            "this student is no language model: its network has no `lm_logits`; use student=ladder_m, or hf with a "
            "causal model"
        )
    backbone, words = student.backbone, options.of(problem.pool.task)
    tokens = [ids[0] for ids in (backbone.encode_answers or backbone.encode)(words)]
    with torch.no_grad():
        unit = torch.eye(head.in_features, device=head.weight.device, dtype=head.weight.dtype)
        rows = body.lm_logits(unit) - body.lm_logits(torch.zeros_like(unit))
        head.weight.copy_(rows.T[tokens])
        head.bias.zero_()


@hookimpl
def register_mitigations(register):
    register("head_from_words", HeadFromWords)
    register("zero_shot", ZeroShot)
