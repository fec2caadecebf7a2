"""Lists of messages as texts and as pairs: from the file to what a model with a chat template reads."""

from __future__ import annotations

import copy
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from support.tables import SMALL, table, write

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Conversation, FitContext, Inputs, Recipe, TaskInfo
from w2s_bench.plugins.students.hf import HfStudent
from w2s_bench.plugins.supervisors.hf import HfSupervisor
from w2s_bench.plugins.supervisors.tfidf import TfidfSupervisor
from w2s_bench.training.batches import content_key
from w2s_bench.training.frozen import FrozenFeatures

PAIRS = {"chosen": "chosen", "rejected": "rejected"}
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}"
    "<{{ m.role }}> {{ m.content }} </s> {% endfor %}"
)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def forms(i: int) -> dict[str, dict]:
    """Returns one pair in each form in which it is published."""
    question, good, bad = f"question {i}?", f"good {i}", f"bad {i}"
    whole = {"chosen": [user(question), assistant(good)], "rejected": [user(question), assistant(bad)]}
    answers = {"chosen": [assistant(good)], "rejected": [assistant(bad)]}
    parts = [{"type": "text", "text": "question "}, {"type": "text", "text": f"{i}?", "image": None}]
    return {
        "no prompt": whole,
        "prompt and answers": {"prompt": [user(question)], **answers},
        "prompt of text": {"prompt": question, **answers},
        "answers of text": {"prompt": [user(question)], "chosen": good, "rejected": bad},
        "prompt repeated": {"prompt": [user(question)], **whole},
        "prompt of text repeated": {"prompt": f"{question} ", **whole},
        "prompt empty": {"prompt": [], **whole},
        "parts": {"prompt": [{"role": "user", "content": parts}], **answers},
        "more keys": {"prompt": [{**user(question), "name": "Ann", "tool_calls": None}], **answers},
    }


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("form", forms(0))
def test_every_form_gives_the_same_pairs(tmp_path, form, suffix):
    rows = [forms(i)[form] for i in range(100)]
    path = tmp_path / f"pairs.{suffix}"
    if suffix == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        write(path, rows)
    task = table(path, text="prompt" if "prompt" in rows[0] else "", **PAIRS)
    task.fingerprint()
    assert task.kind == "preference"
    for split in task.load(0, SMALL)[1].values():
        for text, other, truth in zip(split.inputs.text, split.inputs.other, split.truth, strict=True):
            better, worse = (other, text) if truth else (text, other)
            i = int(better.rpartition(" ")[2])
            assert better == f"user: question {i}?\n\nassistant: good {i}" and worse.endswith(f"bad {i}")
            assert better.messages == (("user", f"question {i}?"), ("assistant", f"good {i}"))


def test_longer_conversations_keep_their_order_and_system_message(tmp_path):
    system = {"role": "system", "content": "be brief"}
    turns = [user("a"), assistant("b"), user("c")]
    rows = [
        {"prompt": "c", "chosen": [system, *turns, assistant(f"d{i}")], "rejected": [assistant(f"e{i}")]}
        for i in range(60)
    ]
    rows_of = table(write(tmp_path / "a.jsonl", rows), text="prompt", **PAIRS)._rows
    assert rows_of.text[3] == "system: be brief\n\nuser: a\n\nassistant: b\n\nuser: c\n\nassistant: d3"
    assert rows_of.other[3] == "user: c\n\nassistant: e3"


def test_messages_with_a_label(tmp_path):
    rows = [{"text": [user(f"q{i}")], "b": [user(f"r{i}")], "label": i % 2} for i in range(60)]
    path = write(tmp_path / "a.jsonl", rows)
    assert table(path).load(0, SMALL)[1]["test"].inputs.text[0].startswith("user: q")
    inputs = table(path, other="b").load(0, SMALL)[1]["test"].inputs
    assert inputs.other[0].messages[0][1] == inputs.text[0].messages[0][1].replace("q", "r")


def test_a_table_without_the_default_prompt_column_says_what_to_do(tmp_path):
    path = write(tmp_path / "a.jsonl", [forms(i)["no prompt"] for i in range(60)])
    for ask in ("fingerprint", "load"):
        with pytest.raises(W2SError, match=r"no column 'text' .*task.text=COLUMN names the prompt, task.text= that"):
            getattr(table(path, **PAIRS), ask)(*(() if ask == "fingerprint" else (0, SMALL)))


BAD = {
    "empty list": ([], "the list of messages is empty"),
    "number": ([user("a"), 5], "message 2 is int, not an object with role and content"),
    "text": (["a"], "message 1 is str, not an object"),
    "no role": ([{"content": "a"}], "message 1 has no 'role'; it has: 'content'"),
    "other keys": ([{"from": "human", "value": "a"}], "message 1 has no 'role'; it has: 'from', 'value'"),
    "no content": ([{"role": "user"}], "message 1 has no 'content'; it has: 'role'"),
    "null role": ([{"role": None, "content": "a"}], "the role of message 1 is nothing, not a text such as user"),
    "null content": ([user("a"), assistant(None)], r"the content of message 2 \(assistant\) is nothing, not a text"),
    "object": ([user({"a": 1})], r"the content of message 1 \(user\) is dict, not a text"),
    "image": (
        [user([{"type": "image_url", "image_url": "x"}])],
        "message 1 has a part of type 'image_url'; only parts",
    ),
    "part": ([user(["a"])], "message 1 has a part that is str; only parts of type 'text'"),
    "blank": ([user(" "), assistant("")], "its messages are empty"),
    "one message": (user("a"), r"expected a text or a list of messages, found \{'role': 'user', .* \(dict\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_messages_are_explained(tmp_path, case):
    value, message = BAD[case]
    rows = [*(forms(i)["no prompt"] for i in range(60)), {"chosen": [user("a")], "rejected": value}]
    with pytest.raises(W2SError, match=rf"line 61: column 'rejected' \(task.rejected\): {message}") as caught:
        table(write(tmp_path / "a.jsonl", rows), text="", **PAIRS).load(0, SMALL)
    assert "\n" not in str(caught.value)


# --- between the table and the model


BLURRED = [
    Conversation([("user", "a\n\nassistant: b")]),
    Conversation([("user", "a"), ("assistant", "b")]),
    "user: a\n\nassistant: b",
]
"""Three texts with one string."""


def test_messages_reach_workers_and_plain_texts_stay_plain(tmp_path):
    inputs = Inputs(["x", "y", "z"], BLURRED, [BLURRED[2], BLURRED[0], BLURRED[1]])
    exchange.write_inputs(tmp_path / "a.parquet", inputs)
    again = exchange.read_inputs(tmp_path / "a.parquet")
    assert again == inputs
    for texts in (again.text, again.other[1:] + again.other[:1], copy.deepcopy(again.text)):
        assert [getattr(text, "messages", None) for text in texts] == [getattr(t, "messages", None) for t in BLURRED]
    assert not isinstance(again.text[0] + "!", Conversation)
    exchange.write_inputs(tmp_path / "b.parquet", Inputs(["x"], ["plain"]))
    assert set(exchange.read_table(tmp_path / "b.parquet").column_names) == {"id", "text"}


def test_caches_tell_messages_apart_that_look_alike():
    assert len({content_key(Inputs(["x"], [text])) for text in BLURRED}) == 3
    read = []
    frozen = FrozenFeatures(torch.nn.Linear(1, 1), "body", lambda i: read.append(i) or torch.ones(len(i), 1), "")
    for text in (*BLURRED, *BLURRED):
        frozen.features(Inputs(["x"], [text]))
    assert len(read) == 3


def test_a_bag_of_words_learns_from_conversations(tmp_path):
    rows = [forms(i)["no prompt"] for i in range(100)]
    splits = table(write(tmp_path / "a.jsonl", rows), text="", **PAIRS).load(0, SMALL)[1]
    weak = TfidfSupervisor(TfidfSupervisor.Options())
    task = TaskInfo("pairs", "preference", 2, ["first", "second"])
    weak.fit(splits["supervision"].inputs, splits["supervision"].truth, FitContext(task, 0, Recipe()))
    assert (weak.label(splits["test"].inputs).argmax(1) == splits["test"].truth).mean() == 1


# --- chat templates


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a folder with a small causal model whose tokeniser starts every text with <s>, without a template."""
    import transformers as tf
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    path = tmp_path_factory.mktemp("model")
    words = ["[UNK]", "<s>", "</s>", "<user>", "<assistant>", "user:", "assistant:", "hello", "there", "you"]
    tokens = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"unk_token": "[UNK]", "bos_token": "<s>", "eos_token": "</s>"}
    tf.PreTrainedTokenizerFast(tokenizer_object=tokens, **names).save_pretrained(path)
    torch.manual_seed(0)
    tf.GPT2Model(tf.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=10, n_positions=32)).save_pretrained(path)
    return path


@pytest.fixture
def templated(folder, tmp_path):
    """Returns a copy of the folder with a chat template."""
    import shutil

    copied = shutil.copytree(folder, tmp_path / "chat")
    (copied / "chat_template.jinja").write_text(TEMPLATE)
    return copied


def student(path, **options) -> HfStudent:
    return HfStudent(HfStudent.Options(model=str(path), **options))


TALK = Conversation([("user", "hello you"), ("assistant", "there")])
BY_TEMPLATE, AS_TEXT = [3, 7, 9, 2, 4, 8, 2], [1, 5, 7, 9, 6, 8]


def test_a_chat_template_is_used_where_there_is_one(folder, templated):
    texts = [TALK, "hello", TALK, str(TALK)]
    assert student(templated).backbone(0).encode(texts) == [BY_TEMPLATE, [1, 7], BY_TEMPLATE, AS_TEXT]
    assert student(folder).backbone(0).encode(texts) == [AS_TEXT, [1, 7], AS_TEXT, AS_TEXT]
    plain = student(templated, chat_template=False).backbone(0)
    assert plain.encode(texts) == [AS_TEXT, [1, 7], AS_TEXT, AS_TEXT]
    assert student(templated, max_length=3).backbone(0).encode([TALK]) == [BY_TEMPLATE[:3]]
    assert plain.identity["chat_template"] == "off" and plain.identity != student(templated).backbone(0).identity


def test_the_template_is_part_of_what_a_folder_is(templated):
    before = student(templated).fingerprint()
    (templated / "chat_template.jinja").write_text(TEMPLATE + " ")
    assert student(templated).fingerprint() != before


def test_what_a_template_refuses_is_explained(templated):
    talk = Conversation([("system", "be brief"), *TALK.messages])
    expected = "chat: its chat template refuses a conversation of system, user, assistant: no system messages; "
    with pytest.raises(W2SError, match=rf"student.model={expected}student.chat_template=false reads"):
        student(templated).backbone(0).encode([talk])
    assert student(templated, chat_template=False).backbone(0).encode([talk])


def test_a_supervisor_with_a_template_learns_and_is_restored(templated, tmp_path):
    rows = [
        {"chosen": [user("hello"), assistant("you")], "rejected": [user("hello"), assistant("there")], "g": i}
        for i in range(60)
    ]
    splits = table(write(tmp_path / "a.jsonl", rows), text="", group="g", **PAIRS).load(0, SMALL)[1]
    task = TaskInfo("pairs", "preference", 2, ["first", "second"])
    context = FitContext(task, 0, Recipe(epochs=30, batch_size=4))
    weak = HfSupervisor(HfSupervisor.Options(model=str(templated), tune="probe", head_lr=0.1))
    weak.fit(splits["supervision"].inputs, splits["supervision"].truth, context)
    votes = weak.label(splits["test"].inputs)
    assert (votes.argmax(1) == splits["test"].truth).all()
    weak.save(tmp_path / "saved")
    again = HfSupervisor(weak.options)
    again.restore(tmp_path / "saved", context)
    np.testing.assert_allclose(again.label(splits["test"].inputs), votes, atol=1e-6)


def test_json_of_a_conversation_is_its_string():
    assert json.loads(json.dumps([TALK])) == ["user: hello you\n\nassistant: there"]
