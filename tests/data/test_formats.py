"""Recognising a row's format and bringing it to one shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_hub.data import (
    Conversation,
    DatasetOptions,
    Document,
    Example,
    Processed,
    PromptCompletion,
    RowError,
    convert,
    detect,
)
from training_hub.errors import ParameterError

USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "hello"}
CALL = {"name": "f", "arguments": {"x": 1}}
FULL_CALL = {"type": "function", "function": CALL}


def made(row: object, **options: Any) -> Example:
    said = DatasetOptions(**options)
    return convert(row, detect(row, said), said)


def problem(row: object, **options: Any) -> str:
    with pytest.raises(RowError) as raised:
        made(row, **options)
    return str(raised.value)


@pytest.mark.parametrize(
    ("row", "options", "form"),
    [
        ({"messages": [USER, ANSWER], "text": "x"}, {}, "messages"),
        ({"conversations": [USER, ANSWER]}, {}, "messages"),
        ({"chat": [USER, ANSWER]}, {"field_messages": "chat"}, "messages"),
        ({"conversations": [{"from": "human", "value": "a"}]}, {}, "sharegpt"),
        ({"chat": [{"from": "human", "value": "a"}]}, {"field_messages": "chat"}, "sharegpt"),
        ({"instruction": "a", "output": "b"}, {}, "alpaca"),
        ({"question": "a", "output": "b"}, {"field_instruction": "question"}, "alpaca"),
        ({"prompt": "a", "completion": "b"}, {}, "prompt_completion"),
        ({"text": "a"}, {}, "documents"),
        ({"document": "a"}, {}, "documents"),
        ({"body": "a"}, {"document_column_name": "body"}, "documents"),
        ({"input_ids": [1], "labels": [1], "messages": []}, {}, "processed"),
        ({"text": "a", "messages": []}, {"is_pretraining": True}, "documents"),
        ({"messages": []}, {"use_processed_dataset": True}, "processed"),
        ({"instruction": "a"}, {"dataset_type": "chat_template"}, "messages"),
        ({"messages": []}, {"dataset_type": "passthrough"}, "documents"),
    ],
)
def test_the_keys_of_a_row_tell_its_format(row: dict[str, Any], options: dict[str, Any], form: str) -> None:
    assert detect(row, DatasetOptions(**options)) == form


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"dataset_type='sharegtp'.*did you mean 'sharegpt'"):
        DatasetOptions(dataset_type="sharegtp")
    with pytest.raises(ParameterError, match="is_pretraining=True and use_processed_dataset=True contradict"):
        DatasetOptions(is_pretraining=True, use_processed_dataset=True)
    with pytest.raises(ParameterError, match="contradict each other"):
        DatasetOptions(dataset_type="alpaca", is_pretraining=True)
    assert DatasetOptions(dataset_type="passthrough", is_pretraining=True).format == "documents"


def test_messages_are_kept_as_they_are_with_text_content() -> None:
    parts = {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    row = {"messages": [{"role": "system", "content": "s"}, {**USER, "name": None}, parts], "unmask": None}
    assert made(row) == Conversation(
        ({"role": "system", "content": "s"}, USER, {"role": "assistant", "content": "ab"}), trained=(2,)
    )


@pytest.mark.parametrize("arguments", [{"x": 1}, '{"x": 1}'])
@pytest.mark.parametrize("wrapped", [True, False])
def test_tool_calls_are_brought_to_one_form(arguments: object, wrapped: bool) -> None:
    call = {"name": "f", "arguments": arguments}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": call} if wrapped else call]},
        {"role": "tool", "content": "3", "tool_call_id": "1"},
        ANSWER,
    ]
    row = {"messages": messages, "tools": '[{"name": "f"}]'}
    got = made(row)
    assert isinstance(got, Conversation)
    assert got.trained == (1, 3)
    assert got.tools == ({"type": "function", "function": {"name": "f"}},)
    expected = {"id": "1", **FULL_CALL} if wrapped else FULL_CALL
    assert got.messages[1] == {"role": "assistant", "content": "", "tool_calls": [expected]}


def test_sharegpt_becomes_messages() -> None:
    row = {
        "system": "s",
        "tools": json.dumps([{"type": "function", "function": {"name": "f"}}]),
        "conversations": [
            {"from": "human", "value": "a"},
            {"from": "function_call", "value": json.dumps([CALL, {"name": "g", "arguments": '{"y": []}'}])},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "b"},
        ],
    }
    assert made(row) == Conversation(
        (
            {"role": "system", "content": "s"},
            {"role": "user", "content": "a"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [FULL_CALL, {"type": "function", "function": {"name": "g", "arguments": {"y": []}}}],
            },
            {"role": "tool", "content": "3"},
            {"role": "assistant", "content": "b"},
        ),
        trained=(2, 4),
        tools=({"type": "function", "function": {"name": "f"}},),
    )


def test_alpaca_becomes_messages() -> None:
    row = {"instruction": "do", "input": "this", "output": "done", "system": "s", "history": [["q", "a"]]}
    assert made(row) == Conversation(
        (
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "do\n\nthis"},
            {"role": "assistant", "content": "done"},
        ),
        trained=(2, 4),
    )
    renamed = {"q": "do", "i": "", "a": "done"}
    assert made(renamed, field_instruction="q", field_input="i", field_output="a") == Conversation(
        ({"role": "user", "content": "do"}, {"role": "assistant", "content": "done"}), trained=(1,)
    )


def test_prompt_and_completion() -> None:
    assert made({"prompt": "a", "completion": " b"}) == PromptCompletion("a", " b")
    assert made({"prompt": "a", "completion": " b"}, unmask=True) == PromptCompletion("a", " b", unmask=True)
    lists = {"prompt": [USER, ANSWER, USER], "completion": [ANSWER]}
    assert made(lists) == Conversation((USER, ANSWER, USER, ANSWER), trained=(3,))


def test_documents_need_to_be_asked_for() -> None:
    assert made({"text": "a"}, is_pretraining=True) == Document("a")
    assert made({"body": "a"}, is_pretraining=True, document_column_name="body") == Document("a")
    assert "give is_pretraining=True" in problem({"text": "a"})
    assert "'body' is missing" in problem({"text": "a"}, is_pretraining=True, document_column_name="body")


def test_processed_rows() -> None:
    row = {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "len": 3, "attention_mask": [1, 1, 1]}
    assert made(row) == Processed((1, 2, 3), (-100, 2, 3))


def test_unmask_trains_all_but_the_system_turn() -> None:
    messages = [{"role": "system", "content": "s"}, USER, ANSWER, {"role": "tool", "content": "t"}]
    for row, options in (({"messages": messages, "unmask": True}, {}), ({"messages": messages}, {"unmask": True})):
        got = made(row, **options)
        assert isinstance(got, Conversation)
        assert got.trained == (1, 2, 3)
    assert made({"messages": [USER], "unmask": True}) == Conversation((USER,), trained=(0,))


def msgs(*messages: object, **row: object) -> dict[str, object]:
    return {"messages": list(messages), **row}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1], "the row is a list; expected an object"),
        (None, "the row is null"),
        ({}, "no known format has its keys: none at all"),
        ({"mesages": [], "id": 1}, "keys: 'mesages', 'id' (did you mean 'messages'?)"),
        (msgs(), "'messages' is empty"),
        ({"messages": "hi"}, "'messages' is a text; expected a list of messages"),
        (msgs(3), "messages[0] is a number"),
        (msgs({"role": "asistant", "content": "a"}), "'asistant' (did you mean 'assistant'?); expected one of system"),
        (msgs({"role": "gpt", "content": "a"}), "(did you mean 'assistant'?)"),
        (msgs({"role": "pretraining", "content": "a"}), "messages[0].role is 'pretraining'; expected one of"),
        (msgs({"role": ["user"], "content": "a"}), "messages[0].role is a list"),
        (msgs({"content": "a"}), "messages[0].role is missing"),
        (msgs({"role": "user"}, ANSWER), "messages[0].content is missing"),
        (msgs({"role": "user", "content": 3}, ANSWER), "messages[0].content is a number, not text"),
        (
            msgs({"role": "user", "content": [{"type": "image_url"}]}),
            "content[0] is not text (its type is 'image_url')",
        ),
        (msgs(USER), "no assistant turn to train on"),
        (msgs(USER, {"role": "assistant", "content": " "}), "messages[1] is an empty assistant turn"),
        (msgs(USER, {"role": "assistant"}), "messages[1].content is missing"),
        (msgs(USER, {**ANSWER, "tool_calls": "f"}), "messages[1].tool_calls is a text"),
        (msgs(USER, {**ANSWER, "tool_calls": [{"id": 1}]}), "tool_calls[0] has no function name"),
        (msgs(USER, {**ANSWER, "tool_calls": [{"name": "f", "arguments": "{"}]}), "arguments of 'f' are not JSON"),
        (msgs(USER, {**ANSWER, "tool_calls": [{"name": "f", "arguments": [1]}]}), "arguments of 'f' are a list"),
        (msgs({**USER, "tool_calls": [CALL]}, ANSWER), "expected them on an 'assistant' message only"),
        (msgs(USER, {**ANSWER, "reasoning_content": 1}), "messages[1].reasoning_content is a number"),
        (msgs(USER, ANSWER, unmask="yes"), "'unmask' is 'yes'; expected true or false"),
        (msgs(USER, ANSWER, tools="["), "'tools' is not JSON"),
        (msgs(USER, ANSWER, tools=[{"type": "function"}]), "tools[0] has no function name"),
        ({"conversations": [{"from": "humann", "value": "a"}]}, "'humann' (did you mean 'human'?)"),
        ({"conversations": [{"from": "gpt", "value": ""}]}, "conversations[0].value is empty"),
        ({"conversations": [{"from": "function_call", "value": "f()"}]}, "conversations[0].value is not JSON"),
        ({"instruction": "a"}, "'output' is missing"),
        ({"instruction": "a", "output": ""}, "'output' is empty"),
        ({"instruction": "a", "output": "b", "history": [["q"]]}, "history[0] is a list; expected [question, answer]"),
        ({"prompt": "a", "completion": [ANSWER]}, "'prompt' is a text and 'completion' is a list"),
        ({"prompt": [USER], "completion": [USER]}, "no assistant turn to train on"),
        ({"input_ids": [1]}, "'labels' is missing"),
        ({"input_ids": [1, 2], "labels": [1]}, "'input_ids' has 2 items and 'labels' 1"),
        ({"input_ids": [1, 2.0], "labels": [1, 2]}, "'input_ids' holds 2.0; expected integers only"),
        ({"input_ids": [1, True], "labels": [1, 2]}, "'input_ids' holds true"),
        ({"input_ids": [1, None], "labels": [1, 2]}, "'input_ids' holds null"),
        ({"input_ids": [1, -2], "labels": [1, 2]}, "'input_ids' holds -2"),
        ({"input_ids": [1, 2], "labels": [1, -1]}, "'labels' holds -1"),
        ({"input_ids": [1, 2], "labels": [1, -100]}, "nothing in it is trained"),
        ({"input_ids": [], "labels": []}, "'input_ids' is empty"),
    ],
)
def test_a_bad_row_says_what_is_wrong_and_what_was_expected(row: object, expected: str) -> None:
    assert expected in problem(row)


TURNS = st.lists(st.tuples(st.text(), st.text().filter(str.strip)), min_size=1, max_size=4)


@given(turns=TURNS, system=st.none() | st.text(min_size=1))
def test_the_same_conversation_is_the_same_in_every_format(turns: list[tuple[str, str]], system: str | None) -> None:
    head = [] if system is None else [{"role": "system", "content": system}]
    flat = [(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
    messages = [*head, *({"role": role, "content": text} for role, text in flat)]
    source = {"user": "human", "assistant": "gpt"}
    rows: list[dict[str, Any]] = [
        {"messages": messages},
        {"conversations": [{"from": source[role], "value": text} for role, text in flat], "system": system},
        {
            "instruction": turns[-1][0],
            "output": turns[-1][1],
            "history": [list(t) for t in turns[:-1]],
            "system": system,
        },
    ]
    first, *others = [made(row) for row in rows]
    assert first == Conversation(tuple(messages), tuple(range(len(head) + 1, len(messages), 2)))
    assert others == [first, first]


def chat(*messages: dict[str, Any], **row: Any) -> Conversation:
    found = made({"messages": list(messages), **row})
    assert isinstance(found, Conversation)
    return found


@pytest.mark.parametrize("key", ["weight", "train", "training"])
def test_a_message_may_say_that_it_is_not_learnt(key: str) -> None:
    no, yes = (0, 1) if key == "weight" else (False, True)
    found = chat(USER, {**ANSWER, key: no}, USER, {**ANSWER, key: yes})
    assert found.trained == (3,)
    assert found.messages[1] == ANSWER
    with pytest.raises(RowError, match="no assistant turn .* that is learnt"):
        chat(USER, {**ANSWER, key: no})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({**ANSWER, "weight": 0.5}, r"messages\[1\].weight is 0.5; expected 0 or 1"),
        ({**ANSWER, "train": "no"}, r"messages\[1\].train is 'no'; expected true or false"),
        ({**ANSWER, "train": 0}, r"messages\[1\].train is 0; expected true or false"),
        ({**ANSWER, "weight": 1, "train": False}, "that it is learnt and that it is not"),
        ({**USER, "train": True}, "only answers are learnt"),
    ],
)
def test_what_a_message_says_of_being_learnt_is_honoured_or_refused(message: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said):
        chat(USER, message, ANSWER)


def test_messages_of_other_forms_refuse_a_choice_of_what_is_learnt() -> None:
    with pytest.raises(RowError, match=r"prompt\[1\].weight says whether the message is learnt"):
        made({"prompt": [USER, {**ANSWER, "weight": 0}], "completion": [ANSWER]})


def test_a_system_beside_the_messages_is_the_first_of_them() -> None:
    system = {"role": "system", "content": "be short"}
    assert chat(USER, ANSWER, system="be short") == chat(system, USER, ANSWER)
    with pytest.raises(RowError, match="'system' is there, and a system message in 'messages', too"):
        chat(system, USER, ANSWER, system="be long")


def test_functions_and_function_calls_are_tools_and_calls() -> None:
    asked = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x": 1}'}}
    older = chat(USER, asked, {"role": "function", "name": "f", "content": "1"}, ANSWER, functions=[{"name": "f"}])
    called = {"role": "assistant", "content": "", "tool_calls": [FULL_CALL]}
    newer = chat(
        USER,
        called,
        {"role": "tool", "name": "f", "content": "1"},
        ANSWER,
        tools=[{"type": "function", "function": {"name": "f"}}],
    )
    assert older == newer


def test_what_the_template_is_given_besides_is_kept() -> None:
    assert chat(USER, ANSWER, chat_template_kwargs={"enable_thinking": False}).template_arguments == {
        "enable_thinking": False
    }
    with pytest.raises(RowError, match="holds 'tools', which the hub gives itself"):
        chat(USER, ANSWER, chat_template_kwargs={"tools": []})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [USER, ANSWER], "images": ["a.png"]}, "'images' is there, and only text is learnt from"),
        ({"messages": [USER, ANSWER], "label": False}, "'label' says whether the answer is a good one.*KTO"),
        ({"prompt": "a", "completion": "b", "label": True}, "'label' says whether the answer is a good one"),
        ({"prompt": "a", "completion": "b", "system": "c"}, "'system' is for the chat template"),
        ({"messages": [USER, ANSWER], "tools": [CALL], "functions": [CALL]}, "'tools' is there, and the older"),
        ({"chosen": "a", "rejected": "b", "prompt": "c"}, "it is a preference row"),
        (
            {"messages": None, "mesages": 1},
            r"its keys|has its keys: 'messages', 'mesages' \(did you mean 'messages'\?\)",
        ),
        ({"messages": None}, r"has its keys: 'messages'; expected"),
    ],
)
def test_keys_that_change_the_meaning_are_honoured_or_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said):
        made(row)
