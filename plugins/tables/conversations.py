"""Conversations out of lists of messages, `[{"role": ..., "content": ...}, ...]`, and pairs of them."""

from __future__ import annotations

from typing import Any

from w2s_bench.interfaces import Conversation


def conversation(value: list[Any], may_be_empty: bool = False) -> Conversation:
    """Returns the conversation of a list of messages; ValueError, in words, where it is none."""
    messages = [_message(number, message) for number, message in enumerate(value, 1)]
    if not may_be_empty and not any(content.strip() for _, content in messages):
        raise ValueError("its messages are empty" if messages else "the list of messages is empty")
    return Conversation(messages)


def _message(number: int, message: Any) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise ValueError(f"message {number} is {_type(message)}, not an object with role and content")
    for key in ("role", "content"):
        if key not in message:
            raise ValueError(f"message {number} has no {key!r}; it has: {', '.join(map(repr, message)) or 'nothing'}")
    role, content = message["role"], message["content"]
    if not isinstance(role, str) or not role.strip():
        raise ValueError(f"the role of message {number} is {_type(role)}, not a text such as user or assistant")
    if isinstance(content, list):
        content = "".join(_part(number, part) for part in content)
    if not isinstance(content, str):
        raise ValueError(f"the content of message {number} ({role}) is {_type(content)}, not a text")
    return role, content


def _part(number: int, part: Any) -> str:
    """Returns the text of one part of a message's content, as in data for models that also see or hear."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind != "text" or not isinstance(part.get("text"), str):
        shown = f"a part of type {kind!r}" if isinstance(kind, str) else f"a part that is {_type(part)}"
        raise ValueError(f"message {number} has {shown}; only parts of type 'text', with a text, are read")
    return part["text"]


def _type(value: Any) -> str:
    return "nothing" if value is None or value == "" else type(value).__name__


def with_prompt(prompt: str, better: str, worse: str) -> tuple[str, str]:
    """Returns the better and the worse answer, each behind the prompt: conversations where one of the three is one.

    Then a plain prompt is a user's message and a plain answer the assistant's. Answers that are whole conversations
    often repeat the prompt: it is put before those that do not.
    """
    if not any(isinstance(text, Conversation) for text in (prompt, better, worse)):
        return _joined(prompt, better), _joined(prompt, worse)
    before = _messages(prompt, "user")
    return _after(before, _messages(better, "assistant")), _after(before, _messages(worse, "assistant"))


def _messages(text: str, role: str) -> tuple[tuple[str, str], ...]:
    return text.messages if isinstance(text, Conversation) else ((role, text),) if text.strip() else ()


def _after(before: tuple[tuple[str, str], ...], answer: tuple[tuple[str, str], ...]) -> Conversation:
    n, trimmed = len(before), [(role, content.strip()) for role, content in answer]
    wanted = [(role, content.strip()) for role, content in before]
    repeated = any(trimmed[start : start + n] == wanted for start in range(len(answer) - n))
    return Conversation(answer if repeated else (*before, *answer))


def _joined(prompt: str, answer: str) -> str:
    return prompt + answer if not prompt or prompt[-1].isspace() else f"{prompt} {answer}"
