"""The world and its three tasks: true, disjoint, unseen in pretraining, and not to be had from single words."""

import hashlib

import numpy as np
import pytest

from w2s_bench.errors import UsageError
from w2s_bench.interfaces import SPLITS, Sizes, Task
from w2s_bench.plugins.ladder import words
from w2s_bench.plugins.ladder.tokenizer import encode
from w2s_bench.plugins.ladder.world import LENGTH, MIXTURE, World, held_out, held_out_sums, the_world
from w2s_bench.plugins.tasks.sandbox import Facts, Reviews, ReviewsPairs, Sums, SumsGen

TASKS = (Facts, Sums, Reviews)
SMALL = Sizes(n_supervision=300, n_transfer=200, n_validation=50, n_test=250)


def corpus_texts(saliency: float, n: int) -> list[str]:
    world = World(saliency)
    return world.texts(world.corpus(n, np.random.RandomState(1))[0])


@pytest.mark.parametrize("task", TASKS)
def test_a_task_keeps_the_protocol(task):
    assert isinstance(task(), Task)
    assert task.kind == "classification" and task.same_test_for_all_seeds is False
    classes, splits = task().load(3, SMALL)
    assert len(classes) == 2 and tuple(splits) == SPLITS
    assert [len(splits[s].inputs) for s in SPLITS] == [300, 200, 50, 250]
    for split in splits.values():
        assert split.truth.shape == split.inputs.difficulty.shape == (len(split.inputs),)
        assert 0.35 < split.truth.mean() < 0.65


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_decides_all_and_no_two_seeds_agree(task):
    one, again, other = (task().load(seed, SMALL)[1]["test"] for seed in (3, 3, 4))
    assert one.inputs.text == again.inputs.text and np.array_equal(one.truth, again.truth)
    assert one.inputs.text != other.inputs.text


@pytest.mark.parametrize("task", TASKS)
def test_splits_are_disjoint_at_full_size(task):
    splits = task().load(11, Sizes())[1]
    ids = [i for split in splits.values() for i in split.inputs.ids]
    texts = [t for split in splits.values() for t in split.inputs.text]
    assert len(set(ids)) == len(ids) == 10_500
    assert len(set(texts)) == len(texts)
    if task is Facts:
        people = [set(split.group) for split in splits.values()]
        assert sum(map(len, people)) == len(set().union(*people))
    if task is Sums:
        problems = [frozenset(t.replace(" ", "").split("=")[0].split("+")) for t in texts]
        assert len(set(problems)) == len(problems), "the same two numbers, in either order, are asked once"


def facts_oracle(text: str) -> int:
    """Looks the person up, then finds the value among the good or the bad ones."""
    world = the_world()
    first, last, *attribute = text.split()
    name = [world.index[first], world.index[last]]
    (person,) = np.flatnonzero((world.people == name).all(1))
    number = words.ATTRIBUTES.index(" ".join(attribute))
    value = world.words[world.values[number, world.value_of[person, number]]]
    assert (value in words.KIND_VALUES[number]) != (value in words.UNKIND_VALUES[number])
    return int(value in words.KIND_VALUES[number])


def sums_oracle(text: str) -> int:
    """Adds with Python's integers."""
    problem, position = text.split("=")
    total = sum(int(number.replace(" ", "")) for number in problem.split("+"))
    return int(str(total).zfill(4)[{"units": -1, "tens": -2, "hundreds": -3}[position.strip()]]) % 2


def reviews_oracle(text: str) -> int:
    """Reads clause by clause; a contrast between clauses is settled by its connective."""
    world = the_world()
    tokens = text.split()
    assert tokens.pop() == "verdict"
    clauses, joins, current = [], [], []
    for token in [*tokens, "end"]:
        if token in (*words.CONNECTIVES, "end"):
            adjective = int(np.flatnonzero(world.words[world.adjectives] == current[-1])[0])
            kind = bool(world.kind[words.NOUNS.index(current[0]), adjective])
            clauses.append(kind != ("not" in current))
            joins.append(token)
            current = []
        else:
            current.append(token)
    contrasts = [i for i, join in enumerate(joins) if join in ("but", "although")]
    if not contrasts:
        assert len(set(clauses)) == 1, "clauses joined by `and` are of one side"
        return int(clauses[0])
    (at,) = contrasts
    before, after = set(clauses[: at + 1]), set(clauses[at + 1 :])
    assert len(before) == len(after) == 1 and before != after, "a contrast parts two sides"
    return int((after if joins[at] == "but" else before).pop())


@pytest.mark.parametrize(("task", "oracle"), [(Facts, facts_oracle), (Sums, sums_oracle), (Reviews, reviews_oracle)])
def test_truth_by_a_slow_oracle(task, oracle):
    split = task().load(5, SMALL)[1]["test"]
    assert [oracle(text) for text in split.inputs.text[:200]] == split.truth[:200].tolist()


def test_pairs_hold_one_kind_review_each_and_no_review_twice():
    splits = ReviewsPairs().load(5, SMALL)[1]
    reviews = [t for split in splits.values() for t in (*split.inputs.text, *split.inputs.other)]
    assert len(set(reviews)) == len(reviews) == 2 * 800
    test = splits["test"]
    verdicts = [
        (reviews_oracle(a), reviews_oracle(b)) for a, b in zip(test.inputs.text, test.inputs.other, strict=True)
    ]
    assert [b for _, b in verdicts] == test.truth.tolist() and all(a != b for a, b in verdicts)
    assert 0.35 < test.truth.mean() < 0.65 and ReviewsPairs.kind == "preference"


def test_sums_in_words_are_those_of_the_task_sums_and_true():
    names, splits = SumsGen().load(5, Sizes())
    assert names == [] and SumsGen.kind == "generation" and isinstance(SumsGen(), Task)
    ids = [i for split in splits.values() for i in split.inputs.ids]
    problems = [frozenset(t.replace(" ", "").rstrip("=").split("+")) for s in splits.values() for t in s.inputs.text]
    assert len(set(ids)) == len(ids) == len(set(problems)) == 10_500
    numbers = np.array([[int(n) for n in (*p, *p)[:2]] for p in problems])
    assert held_out_sums(*numbers.T).all()
    test = splits["test"]
    for text, truth, carries in zip(test.inputs.text, test.truth, test.inputs.difficulty, strict=True):
        left, right = (int(n) for n in text.replace(" ", "").rstrip("=").split("+"))
        total = f"{left + right:04}"
        assert truth == f"hundreds {total[-3]} units {total[-1]}"
        tens = left % 10 + right % 10 > 9
        assert carries == tens + (left // 10 % 10 + right // 10 % 10 + tens > 9)
    assert SumsGen().check(" ".join(["hundreds", "8", " units", "8"]), "hundreds 8 units 8", "")
    assert not SumsGen().check("units 8 hundreds 8", "hundreds 8 units 8", "")
    assert max(len(f"{t} {a}".split()) for t, a in zip(test.inputs.text, test.truth, strict=True)) < LENGTH


@pytest.mark.parametrize("task", TASKS)
def test_neither_order_nor_ids_tell_the_truth(task):
    split = task().load(2, Sizes())[1]["test"]
    signs = 2 * split.truth - 1
    halves, neighbours = signs[: len(signs) // 2].mean(), (signs[1:] * signs[:-1]).mean()
    by_hash = [int(hashlib.sha256(i.encode()).hexdigest(), 16) % 2 * 2 - 1 for i in split.inputs.ids]
    for correlation in (halves, neighbours, np.mean(signs * by_hash)):
        assert abs(correlation) < 5 / len(signs) ** 0.5 * 2**0.5


@pytest.mark.parametrize("task", TASKS)
def test_asking_for_too_many_names_the_maximum(task):
    with pytest.raises(UsageError, match=r"examples asked over all splits, [\d,]+ exist"):
        task().load(0, Sizes(n_supervision=150_000))


@pytest.mark.parametrize("saliency", [0.0, 0.3])
def test_pretraining_text_answers_no_prompt_of_a_task(saliency):
    """Facts: the text never names the class of a value of a person asked about. Sums, reviews: no prompt occurs."""
    texts = corpus_texts(saliency, 20_000)
    world, named = the_world(), set(words.GOODNESS)
    asked = {tuple(world.words[world.people[p]]) for p in world.asked_people}
    of_asked = [t.split() for t in texts if tuple(t.split()[:2]) in asked]
    assert len(of_asked) > 5_000 and not any(named & set(line) for line in of_asked)
    problems = {frozenset(t.replace(" ", "").split("=")[0].split("+")) for t in texts if "+" in t}
    reviews = {t.rsplit(" ", 1)[0] for t in texts if "verdict" in t}
    assert len(problems) > 5_000 and len(reviews) > 3_000
    for seed in (0, 1):
        for name, split in Sums().load(seed, Sizes())[1].items():
            asked_sums = {frozenset(t.replace(" ", "").split("=")[0].split("+")) for t in split.inputs.text}
            assert not asked_sums & problems, name
        for name, split in Reviews().load(seed, Sizes())[1].items():
            assert not set(split.inputs.text) & reviews, name
        for split in Facts().load(seed, Sizes())[1].values():
            assert {tuple(t.split()[:2]) for t in split.inputs.text} <= asked


def test_what_is_held_out_never_comes_up():
    """The rule itself, on far more text than the tasks' prompts could catch by chance."""
    world = World()
    columns, _ = world.sum_lines(50_000, np.random.RandomState(3))
    digits = np.searchsorted(world.digits, np.stack([*columns[:3], *columns[4:7]], 1))
    left, right = digits[:, :3] @ [100, 10, 1], digits[:, 3:] @ [100, 10, 1]
    assert not held_out_sums(left, right).any() and held_out_sums(right[::-1], left).any()
    drawn = world.reviews(50_000, np.random.RandomState(3), at_least=2)
    assert 0.23 < held_out(drawn.tokens).mean() < 0.27


def test_saliency_sets_the_share_of_class_words():
    def share(texts: list[str], family: str, named: tuple[str, ...], per_line: int) -> float:
        lines = [t.split() for t in texts if family in t]
        return sum(len(set(named) & {w}) for line in lines for w in line) / (per_line * len(lines))

    for saliency in (0.0, 0.1, 0.3):
        texts = [t for t in corpus_texts(saliency, 8_000) if " is " not in t]
        assert abs(share(texts, "=", words.PARITY, 2) - saliency) < 0.03


def test_text_is_of_known_words_in_the_shares_promised():
    tokens, asked = World().corpus(10_000, np.random.RandomState(0))
    assert tokens.shape == asked.shape == (10_000, LENGTH) and tokens.max() < len(words.vocabulary())
    assert not asked[tokens == 0].any() and asked.any(1).all()
    texts = the_world().texts(tokens)
    assert abs(np.mean(["verdict" in t for t in texts]) - MIXTURE["reviews"]) < 0.01
    assert encode(texts) == [[i for i in row if i] for row in tokens.tolist()]


def test_a_foreign_word_is_named():
    with pytest.raises(UsageError, match="'zebra'"):
        encode(["anna berg likes", "anna berg likes zebra"])


@pytest.mark.parametrize("task", TASKS)
def test_single_words_do_not_give_the_answer(task):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    splits = task().load(100, Sizes(n_supervision=3000, n_test=3000))[1]
    bag = CountVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=200, C=0.1)
    model.fit(bag.fit_transform(splits["supervision"].inputs.text), splits["supervision"].truth)
    assert model.score(bag.transform(splits["test"].inputs.text), splits["test"].truth) < 0.56
