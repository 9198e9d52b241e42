"""Texts that know where they come from are, to a template, texts like any other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_hub.data.traced import CONTENT, DATA, Traced, TracedMapping, join, message_of, trace

TEXT = st.text("ab \n<>{}%s", max_size=12)
PART = st.text("ab <", min_size=1, max_size=2)


def traced(text: str) -> Traced:
    return Traced.of(text, 7, CONTENT)


def check(found: Any, expected: Any, source: str) -> None:
    """The same text, and each of its characters at the place it is said to be from."""
    assert found == expected
    for piece in found if isinstance(found, (list, tuple)) else [found]:
        if isinstance(piece, Traced):
            assert sum(run.length for run in piece.runs) == len(piece)
            at = 0
            for run in piece.runs:
                if run.source == CONTENT:
                    assert piece[at : at + run.length] == source[run.at : run.at + run.length]
                at += run.length


@given(text=TEXT, part=PART, other=TEXT, count=st.integers(-1, 3))
def test_the_methods_of_texts_give_what_they_give_of_plain_ones(text: str, part: str, other: str, count: int) -> None:
    one = traced(text)
    for name, arguments in [
        ("strip", ()), ("strip", (part,)), ("lstrip", ()), ("rstrip", (part,)), ("split", ()), ("split", (part,)),
        ("split", (part, count)), ("rsplit", (part,)), ("rsplit", (part, count)), ("rsplit", (None, count)),
        ("splitlines", ()), ("splitlines", (True,)), ("partition", (part,)), ("rpartition", (part,)),
        ("replace", (part, other)), ("replace", (part, other, count)), ("removeprefix", (part,)),
        ("removesuffix", (part,)), ("startswith", (part,)), ("endswith", ((part, "x"),)), ("find", (part,)),
        ("rfind", (part,)), ("count", (part,)), ("join", (["x", text],)), ("__add__", (other,)), ("__mul__", (2,)),
        ("__contains__", (part,)),
    ]:  # fmt: skip
        check(getattr(one, name)(*arguments), getattr(text, name)(*arguments), text)
    check(other + one, other + text, text)
    check(one.upper().lower(), text.upper().lower(), text.lower())


@given(text=TEXT, start=st.integers(-15, 15), stop=st.integers(-15, 15), step=st.sampled_from([None, 1, 2, -1]))
def test_slices(text: str, start: int, stop: int, step: int | None) -> None:
    check(traced(text)[start:stop:step], text[start:stop:step], text)
    assert list(traced(text)) == list(text)


def test_formatting_keeps_what_is_put_in() -> None:
    word = traced("word")
    for found in (Traced("<%s>%%", ()) % word, Traced("<{}>%", ()).format(word), Traced("<{x}>%", ()).format(x=word)):
        assert found == "<word>%"
        assert isinstance(found, Traced)
        assert [run.at for run in found.runs if run.source == CONTENT] == [0]
    assert Traced("{:>5}", ()).format("a") == "    a"


def test_a_message_is_known_by_all_that_is_in_it() -> None:
    message = trace({"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "f"}}]}, 3)
    assert isinstance(message, TracedMapping)
    assert message_of(message["tool_calls"][0]["function"]["name"]) == 3
    assert [run.source for run in message["tool_calls"][0]["function"]["name"].runs] == [DATA]
    assert message_of({"made": join("", ["x", message["content"]])}) == 3
    assert not isinstance(message["role"], Traced)


@pytest.mark.parametrize("wrong", ["%d", "%5s"])
def test_formats_that_are_not_followed_give_plain_text(wrong: str) -> None:
    found = Traced(wrong, ()) % (1 if wrong == "%d" else "a")
    assert found == wrong % (1 if wrong == "%d" else "a")
    assert not isinstance(found, Traced)
