"""Every hook of w2s_bench, one line each: the API index. Shapes: S supervisors, N examples, C classes, B batch.

Registration and observation hooks are implemented by plugin modules; mitigation hooks by the mitigation's class.
`combines` says how several mitigations meet on one hook: `one` claim plus wrappers, a `chain`, or a `product`.
"""

from w2s_bench import hookspec

# --- registration: `register(name, cls, **options)` names a plugin, with options that differ from its defaults


@hookspec
def register_tasks(register):
    """Calls `register` for each task (see `interfaces.Task`)."""


@hookspec
def register_supervisors(register):
    """Calls `register` for each supervisor (see `interfaces.Supervisor`)."""


@hookspec
def register_students(register):
    """Calls `register` for each student (see `interfaces.Student`)."""


@hookspec
def register_mitigations(register):
    """Calls `register` for each mitigation (see `interfaces.Mitigation`)."""


@hookspec
def register_metrics(register):
    """Calls `register(name, function)`; function(probabilities [N, C], truth [N]) returns a float."""


@hookspec
def register_suites(register):
    """Calls `register(name, path)` with the YAML file of a suite."""


@hookspec
def register_commands(cli):
    """Adds verbs to the `w2s` click group."""


# --- mitigation, in the order in which they are asked


@hookspec(firstresult=True)
def combine_votes(votes, pool):
    """Returns labels [N, C] from votes [S, N, C] (NaN rows abstain); combines: one; default: the first supervisor."""


@hookspec(firstresult=True)
def plan_rounds(students, pool):
    """Returns a list of `Round`s over the names in `students`; combines: one; default: one round, `strong`."""


@hookspec
def revise_labels(labels, pool, round_plan):
    """Returns labels [N, C], or None for unchanged; combines: chain."""


@hookspec
def weigh_examples(labels, pool, round_plan):
    """Returns weights [N] >= 0, 0 leaves an example out; combines: product; default: ones."""


@hookspec(firstresult=True)
def order_examples(labels, weights, pool, round_plan, epoch, progress):
    """Returns indices [any number] for one pass; combines: one; default: a seeded shuffle in length buckets."""


@hookspec(firstresult=True)
def fit_student(problem):
    """Returns a fitted student made by `problem.new_student()`; combines: one; default: Lightning loop."""


@hookspec
def training_batch(batch, progress):
    """Returns a batch made from this one, or None for unchanged; combines: chain."""


@hookspec(firstresult=True)
def training_targets(batch, logits, progress):
    """Returns target probabilities [B, C]; combines: one; default: the batch's labels."""


@hookspec(firstresult=True)
def training_loss(batch, logits, targets, progress):
    """Returns losses [B]; combines: one; default: cross-entropy of logits [B, C] against targets [B, C]."""


# --- observation: one frozen dataclass each (see `events.py`); an exception here is a warning


@hookspec
def run_started(event):
    """Sees a plan before its first stage (`events.RunStarted`)."""


@hookspec
def stage_finished(event):
    """Sees each finished stage, cached ones too (`events.StageFinished`)."""


@hookspec
def run_finished(event):
    """Sees the counts after the last cell (`events.RunFinished`)."""


@hookspec
def run_failed(event):
    """Sees each cell that failed or timed out, with its reason (`events.RunFailed`)."""
