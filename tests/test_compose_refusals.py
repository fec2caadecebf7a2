"""Compositions that are refused, in one line, before any training."""

from __future__ import annotations

import pytest
from support import composing
from support.composing import BASE, TOY

from w2s_bench.compose import runs as compose
from w2s_bench.errors import UsageError
from w2s_bench.registry import load

registry, make, composer = composing.registry, composing.make, composing.composer


def options(run):
    return run.cells[0].mitigations[0].options


WRONG = [
    ("mitigation=[nave]", "no mitigation 'nave'; did you mean 'naive'? `w2s list mitigations` shows all"),
    ("task=toyy", "no task 'toyy'; did you mean 'toy'?"),
    ("student=zzzz", "no student 'zzzz'; `w2s list students` shows all"),
    ("supervisor=[toy_weka]", "did you mean 'toy_weak'?"),
    ("hardware=gpuu", "no hardware 'gpuu'; did you mean 'gpu'?"),
    ("engine=inlin", "did you mean 'inline'?"),
    ("sed=1", "no such setting 'sed'; did you mean 'seed'?"),
    ("seed=x", "seed: expects a whole number, not 'x'"),
    ("seed=-1", "seed: expects 0 or more, not -1"),
    ("seed=true", "expects a whole number"),
    ("seed.x=1", "seed has no parts"),
    ("seed=0,1", "a sweep, which needs -m"),
    ("mitigation=naive,gce", "needs -m (one stack of several is written mitigation=[a,b])"),
    ("mitigation=[gce,gce]", "'gce' is named twice"),
    ("mitigation=[naive,gce]", "'naive' is the empty stack and cannot be combined"),
    ("mitigation=[]", "expects a name or a list of names"),
    ("supervisor=[toy_weak,toy_weak]", "'toy_weak' is named twice"),
    ("task=[toy,facts]", "a task is one name; sweep over several with -m task=a,b"),
    ("mitigation.gce.q=1", "no cell has the mitigation 'gce'"),
    ("mitigation.naive.w=1", "mitigation.naive.w: no such option"),
    ("mitigation.gec.q=1", "no mitigation 'gec'; did you mean 'gce'?"),
    ("supervisor.toy_weak.word=1", "did you mean 'words'?"),
    ("supervisor.toy_weak.words=many", "supervisor.toy_weak.words: expects a whole number, not 'many'"),
    ("supervisor.toy_weak.words=1.5", "expects a whole number, not 1.5"),
    ("supervisor.toy_weak.flips=null", "expects a number, not null"),
    ("supervisor.toy_weak.name=x", "a name is chosen with supervisor=x"),
    ("task.n_transfr=1", "no such option; did you mean 'n_transfer'?"),
    ("task.path=x", "task 'toy': no such option"),
    ("task.n_test=0", "task.n_test: expects more than 0"),
    ("student.tune=lorra", "student.tune: expects one of full, probe, lora"),
    ("protocol.training.epoch=1", "did you mean 'epochs'?"),
    ("protocol.traning.epochs=1", "did you mean 'protocol.training.epochs'?"),
    ("protocol.training.body_lr=1", "body_lr belongs to the entry, not to the protocol; set student.body_lr"),
    ("protocol.training.schedule=step", "expects one of cosine, linear"),
    ("protocol.training.epochs=0", "expects more than 0"),
    ("protocol.metric=acuracy", "no metric 'acuracy'; did you mean 'accuracy'?"),
    ("trainer.max_steps=3", "refused, it is part of the protocol: set protocol.training.epochs"),
    ("trainer.callbacks=[]", "refused, what changes training is a mitigation"),
    ("trainer.devise=3", "no such argument; did you mean 'devices'?"),
    ("engine.worker=3", "did you mean 'workers'?"),
    ("engine.workers=a", "engine.workers: expects a whole number"),
    ("engine.workers=-1", "expects 0 or more"),
    ("engine.save_every_s=0", "expects a number of seconds, more than 0"),
    ("engine.name=x", "a name is chosen with engine=x"),
    ("foo", "'foo' is not an override; write KEY=VALUE"),
    ("seed=f(x)", "Unknown function 'f'"),
    ("seed=[1", "not in Hydra's override language"),
    ("+x=1", "settings cannot be added, all are declared; write x=1"),
    ("+suite=quick", "`w2s suite quick` runs a suite"),
    ("~task", "settings cannot be deleted"),
    ("task@other=toy", "a package (@other) cannot be chosen"),
    ("hydra.verbose=true", "reads no hydra.* settings"),
    ("task.n_test=${student.width}", "only the environment can be interpolated"),
    ("mitigation=[mean_ensemble]", "'mean_ensemble' needs several supervisors"),
    ("mitigation=[bootstrapping]", "'bootstrapping' needs intermediate students"),
    ("mitigation=[co_teaching,meta_weight_net]", "both claim the hook `fit_student`"),
]


@pytest.mark.parametrize(("override", "reason"), WRONG)
def test_refused_in_one_line_before_any_training(composer, override, reason):
    with pytest.raises(UsageError) as refused:
        compose.union(composer, [[*BASE, override]], [], False)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


ASKS = """
from w2s_bench import hookimpl
class Mute:
    def fit(self, inputs, truth, context): ...
    def label(self, inputs): ...
class Forgetful(Mute):
    def correct(self, inputs, answers): ...
class Critic(Forgetful):
    def save(self, folder): ...
    def restore(self, folder, context): ...
class Asks:
    needs = {"correct"}
    @hookimpl
    def revise_labels(self, labels, pool): ...
class Rewards:
    needs = {"reward"}
    @hookimpl
    def revise_labels(self, labels, pool): ...
@hookimpl
def register_supervisors(register):
    for name, cls in dict(mute=Mute, forgetful=Forgetful, a_critic=Critic).items():
        register(name, cls)
@hookimpl
def register_mitigations(register):
    register("asks", Asks)
    register("rewards", Rewards)
"""


@pytest.mark.parametrize(
    ("mitigation", "supervisors", "reason"),
    [
        ("asks", "mute", "'mute' has no `correct`; add one that does, such as 'a_critic'"),
        ("asks", "forgetful,mute", "'forgetful' has no `save`; 'mute' has no `correct`; add one"),
        ("asks", "mute,a_critic", None),
        (
            "rewards",
            "a_critic",
            "'rewards' asks a supervisor to `reward` during training: 'a_critic' has no `reward`",
        ),
        ("rewards", "ladder_xs_0,mute", None),
    ],
)
def test_a_stack_is_refused_that_asks_what_no_supervisor_offers(tmp_path, mitigation, supervisors, reason):
    (tmp_path / "asks.py").write_text(ASKS)
    args = ["task=toy", "student=toy", f"supervisor=[{supervisors}]", f"mitigation=[{mitigation}]"]
    registry = load([TOY, str(tmp_path / "asks.py")])
    if reason is None:
        assert len(compose.cells(args, False, registry).cells) == 1
    else:
        with pytest.raises(UsageError) as refused:
            compose.cells(args, False, registry)
        assert reason in str(refused.value)


def test_refused_only_with_several(make):
    with pytest.raises(UsageError, match="engine is the same for a whole sweep"):
        make("engine=local,inline", multirun=True)
    with pytest.raises(UsageError, match="no student 'toy_smal'; did you mean 'toy_small'"):
        make("mitigation=[bootstrapping]", "mitigation.bootstrapping.intermediate=[toy_smal]")
    with pytest.raises(UsageError, match="matches nothing"):
        make("mitigation=glob(zzz*)", multirun=True)


def test_a_plugins_own_check_is_said_in_its_words(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("""
from dataclasses import dataclass, field
from w2s_bench import hookimpl
class Mine:
    @dataclass
    class Options:
        low: int = 0
        high: int = 1
        table: dict[str, float] = field(default_factory=dict)
        def __post_init__(self):
            if self.low > self.high: raise ValueError("low must not exceed high")
@hookimpl
def register_mitigations(register): register("mine", Mine)
""")
    registry = load([str(path), TOY])
    with pytest.raises(UsageError, match="mitigation 'mine': low must not exceed high"):
        compose.cells([*BASE, "mitigation=[mine]", "mitigation.mine.low=5"], False, registry)
    args = [*BASE, "mitigation=[mine]", "mitigation.mine.table.a=1", "mitigation.mine.table.b=2"]
    assert options(compose.cells(args, False, registry))["table"] == {"a": 1.0, "b": 2.0}
