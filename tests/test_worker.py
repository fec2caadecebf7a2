"""A worker's job, from folder to folder, on the toy plugins."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bench import RECIPE, TASK, data

from w2s_bench import exchange
from w2s_bench.cells import Entry
from w2s_bench.errors import W2SError
from w2s_bench.jobs import Job
from w2s_bench.training.worker import run, work

TOY = str(Path(__file__).parent / "support/toy.py")
STUDENT = Entry("toy", {"width": 128, "body_lr": 1e-2, "head_lr": 1e-2})


@pytest.fixture(scope="module")
def splits():
    return data()


def folder_of(place, splits, stage, entry, truth=None, votes=None, **more):
    """Returns a filled job folder."""
    (place / "in").mkdir(parents=True)
    job = Job(stage, TASK, entry, seed=5, recipe=RECIPE, plugins=(TOY,), hardware={"accelerator": "cpu"}, **more)
    job.write(place)
    for split in ("supervision",) * (stage == "supervise") + ("transfer", "validation", "test"):
        exchange.write_inputs(place / "in" / f"{split}.parquet", splits[split].inputs)
    if truth is not None:
        np.save(place / "in" / "truth.npy", truth, allow_pickle=False)
    if votes is not None:
        exchange.write_arrays(place / "in" / "votes.npz", **votes)
    return place


def one_hot_votes(splits):
    return {s: np.eye(2, dtype=np.float32)[splits[s].truth][None] for s in ("transfer", "validation")}


def predictions(place):
    return exchange.read_predictions(place / "out" / "predictions.parquet")


def test_a_job_is_read_as_it_was_written(tmp_path):
    job = Job(
        "train", TASK, STUDENT, 3, RECIPE, (Entry("naive"),), (Entry("toy_weak", {"words": 40}),), {"small": STUDENT},
        replace(RECIPE, epochs=7.0), {"accelerator": "cpu"}, {"profiler": "simple"}, (TOY,), ("theirs",), ("cache",),
        {"strong": "ab12"},
    )  # fmt: skip
    job.write(tmp_path)
    assert Job.read(tmp_path) == job


def test_supervise_then_train_with_the_supervisor_at_hand(tmp_path, splits):
    weak = Entry("toy_weak", {"words": 40, "flips": 0.0, "salt": "a"})
    place = folder_of(tmp_path / "s", splits, "supervise", weak, truth=splits["supervision"].truth)
    work(place)
    votes = exchange.read_arrays(place / "out" / "votes.npz")
    assert {k: v.shape for k, v in votes.items()} == {"transfer": (480, 2), "validation": (200, 2), "test": (1000, 2)}
    right = (votes["test"].argmax(-1) == splits["test"].truth).mean()
    assert 0.6 < right < 0.95
    assert (place / "out" / "supervisor" / "weights.json").is_file() and (place / "out" / "cost.json").is_file()

    asked = {k: votes[k][None] for k in ("transfer", "validation")}
    options = {"rounds": 2, "critic": 0}
    stack = (Entry("corrective_feedback", options),)
    place2 = folder_of(tmp_path / "t", splits, "train", STUDENT, votes=asked, mitigations=stack, supervisors=(weak,))
    (place2 / "in" / "supervisors").mkdir()
    (place / "out" / "supervisor").rename(place2 / "in" / "supervisors" / "0")
    work(place2)
    own = predictions(place2)
    assert {k: v[1].shape for k, v in own.items()} == {
        "test": (1000, 2), "transfer": (480, 2), "validation": (200, 2),
    }  # fmt: skip
    assert own["test"][0] == splits["test"].inputs.ids
    assert (own["test"][1].argmax(-1) == splits["test"].truth).mean() > 0.65
    cost = exchange.read_json(place2 / "out" / "cost.json")
    assert cost["supervisor_calls"] == 240 and cost["steps"] == 30 and cost["examples"] == 960 and cost["flops"] > 0
    assert exchange.read_json(place2 / "out" / "identity.json") == {"strong": {"name": "toy", "width": "128"}}
    assert not (place2 / "out" / "error.json").exists()


def test_the_ceiling_is_naive_on_votes_that_are_the_truth_bit_for_bit(tmp_path, splits):
    ceiling = folder_of(tmp_path / "c", splits, "ceiling", STUDENT, truth=splits["transfer"].truth)
    votes = one_hot_votes(splits)
    naive = (Entry("naive", {"hard": False}),)
    train = folder_of(
        tmp_path / "t", splits, "train", STUDENT, votes=votes, mitigations=naive, supervisors=(Entry("toy_strong"),)
    )
    for place in (ceiling, train):
        work(place)
    for split in ("test", "transfer"):
        np.testing.assert_array_equal(predictions(ceiling)[split][1], predictions(train)[split][1])
    assert (predictions(ceiling)["test"][1].argmax(-1) == splits["test"].truth).mean() > 0.75
    costs = [exchange.read_json(p / "out" / "cost.json") for p in (ceiling, train)]
    assert costs[0]["steps"] == costs[1]["steps"] == 30 and costs[0]["flops"] == costs[1]["flops"]
    identities = [exchange.read_json(p / "out" / "identity.json") for p in (ceiling, train)]
    assert identities[0] == identities[1] == {"strong": {"name": "toy", "width": "128"}}


def test_the_truth_of_the_test_split_is_nowhere_and_the_same_job_repeats(tmp_path, splits):
    places = []
    for name in ("a", "b"):
        place = folder_of(tmp_path / name, splits, "train", STUDENT, votes=one_hot_votes(splits))
        assert sorted(p.name for p in (place / "in").iterdir()) == [
            "test.parquet",
            "transfer.parquet",
            "validation.parquet",
            "votes.npz",
        ]
        work(place)
        places.append(predictions(place))
    np.testing.assert_array_equal(places[0]["test"][1], places[1]["test"][1])


def test_intermediate_students_and_their_recipes(tmp_path, splits):
    small = Entry("toy_small", {"width": 16, "body_lr": 1e-2, "head_lr": 1e-2})
    place = folder_of(
        tmp_path / "t", splits, "train", STUDENT, votes=one_hot_votes(splits), intermediate={"toy_small": small},
        mitigations=(Entry("bootstrapping", {"intermediate": ["toy_small"]}),),
    )  # fmt: skip
    work(place)
    identities = exchange.read_json(place / "out" / "identity.json")
    assert {k: v["width"] for k, v in identities.items()} == {"strong": "128", "toy_small": "16"}
    assert exchange.read_json(place / "out" / "cost.json")["steps"] == 60


COUNTED = '''
from pathlib import Path

from w2s_bench import hookimpl
from w2s_bench.conformance.toy import ToyStudent


class Counted(ToyStudent):
    """The toy student with weights that never change; it counts how often they are loaded."""

    pretrained = True

    def fingerprint(self):
        return "weights of seed 1"

    def backbone(self, seed):
        import torch

        torch.manual_seed(1)
        with Path(__file__).with_name("loads").open("a") as file:
            file.write("x")
        return super().backbone(1)


@hookimpl
def register_students(register):
    register("counted", Counted)
'''


def test_a_probe_loads_its_backbone_only_where_the_cache_lacks_features(tmp_path, splits):
    (tmp_path / "counted.py").write_text(COUNTED)
    (tmp_path / "loads").touch()

    def probe(name, stack=(), tune="probe", keyed=True):
        """Returns predictions, cost and identity of a job, and how often it loaded the backbone."""
        votes = one_hot_votes(splits)
        place = folder_of(tmp_path / name, splits, "train", Entry("counted", {"width": 32}), votes=votes)
        job, before = Job.read(place), len((tmp_path / "loads").read_text())
        recipe = replace(RECIPE, tune=tune)
        more = {"plugins": (TOY, str(tmp_path / "counted.py")), "cache": (str(tmp_path / "cache"),)}
        more |= {"students": {"strong": "of-these-weights"} if keyed else {}}
        replace(job, recipe=recipe, mitigations=stack, **more).write(place)
        (place / "cache").mkdir()
        work(place)
        shutil.copytree(place / "cache", tmp_path / "cache", dirs_exist_ok=True)  # as the referee does
        cost, identity = (exchange.read_json(place / "out" / f"{part}.json") for part in ("cost", "identity"))
        return predictions(place), cost["flops"], identity, len((tmp_path / "loads").read_text()) - before

    eager = probe("eager", keyed=False)
    shutil.rmtree(tmp_path / "cache")
    first, second = probe("first"), probe("second")
    for split in ("test", "transfer"):
        for made in (first, second):
            np.testing.assert_array_equal(made[0][split][1], eager[0][split][1])
    assert eager[1] == first[1] > second[1] > 0  # reading the texts is counted where they are read
    assert eager[2] == first[2] == second[2] == {"strong": {"name": "toy", "width": "32"}}
    assert [made[3] for made in (eager, first, second)] == [1, 1, 0]
    two_students = (Entry("co_teaching", {"forget_rate": 0.2, "ramp": 0.5}),)
    assert probe("twins", stack=two_students)[3] == 0
    for folder in (tmp_path / "cache").glob("features-*"):
        shutil.rmtree(folder)
    again = probe("again")
    np.testing.assert_array_equal(again[0]["test"][1], eager[0]["test"][1])
    assert again[3] == 1
    assert probe("full", tune="full")[3] == 1


BROKEN = '''
from w2s_bench import hookimpl


class Breaks:
    """Breaks."""

    @hookimpl
    def weigh_examples(self, labels):
        return labels


class BreaksFit:
    """Breaks."""

    def fit(self, inputs, truth, context):
        raise RuntimeError("out of ideas")

    def label(self, inputs):
        return None


class BreaksBackbone:
    """Breaks."""

    def backbone(self, seed):
        raise OSError("no such weights")


@hookimpl
def register_mitigations(register):
    register("breaks", Breaks)


@hookimpl
def register_supervisors(register):
    register("breaks_fit", BreaksFit)


@hookimpl
def register_students(register):
    register("breaks_backbone", BreaksBackbone)
'''


@pytest.mark.parametrize(
    ("stage", "entry", "stack", "said"),
    [
        ("supervise", Entry("breaks_fit"), (), "breaks_fit: fit raised RuntimeError: out of ideas"),
        ("ceiling", Entry("breaks_backbone"), (), "breaks_backbone: backbone raised OSError: no such weights"),
        ("train", Entry("breaks_backbone"), (), "breaks_backbone: backbone raised OSError: no such weights"),
        ("train", STUDENT, (Entry("breaks"),), "mitigation breaks: weigh_examples must return 480 finite weights >= 0"),
        ("train", STUDENT, (Entry("corrective_feedback", {"rounds": 2}),), "supervisor toy_weak cannot be asked"),
    ],
)
def test_a_failure_leaves_one_sentence_that_names_the_culprit(tmp_path, splits, stage, entry, stack, said, capfd):
    plugin = tmp_path / "broken.py"
    plugin.write_text(BROKEN)
    truth = {"supervise": splits["supervision"].truth, "ceiling": splits["transfer"].truth}.get(stage)
    more = {"supervisors": (Entry("toy_weak"),), "mitigations": stack} if stage == "train" else {}
    votes = one_hot_votes(splits) if stage == "train" else None
    place = folder_of(tmp_path / "job", splits, stage, entry, truth=truth, votes=votes, **more)
    job = replace(Job.read(place), plugins=(TOY, str(plugin)))
    job.write(place)
    with pytest.raises(SystemExit) as ended:
        run(str(place))
    assert ended.value.code == 1
    error = exchange.read_json(place / "out" / "error.json")
    assert error["message"].startswith(said) and "\n" not in error["message"]
    assert "Traceback" in error["traceback"]


def test_an_unknown_plugin_is_a_sentence_too(tmp_path, splits):
    place = folder_of(tmp_path / "job", splits, "train", Entry("toyy"), votes=one_hot_votes(splits))
    with pytest.raises(W2SError, match="toyy"):
        work(place)
