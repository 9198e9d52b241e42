"""What is trained of a conversation: exactly the assistant's turns, whatever the chat template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("transformers")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training_hub.data import Conversation, DatasetOptions, Encoded, Encoder, convert, encode
from training_hub.errors import DatasetError, ModelError

Turns = list[dict[str, Any]]

CHATML = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

CHATML_DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}" + CHATML
)

LLAMA3 = """<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>

{{ m.content | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""

LLAMA2 = """{%- set offset = 1 if messages[0].role == 'system' else 0 -%}
{%- for m in messages[offset:] -%}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('roles must alternate user/assistant') -}}
{%- endif -%}
{%- if m.role == 'user' -%}
{{- '<s>[INST] ' -}}
{%- if loop.first and offset -%}{{- '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' -}}{%- endif -%}
{{- m.content + ' [/INST]' -}}
{%- else -%}
{{- ' ' + m.content + ' </s>' -}}
{%- endif -%}
{%- endfor -%}"""

MISTRAL = """{{- '<s>' -}}{%- for m in messages -%}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('roles must alternate user/assistant') -}}
{%- endif -%}
{%- if m.role == 'user' -%}{{- '[INST]' + m.content + '[/INST]' -}}{%- else -%}{{- m.content + '</s>' -}}{%- endif -%}
{%- endfor -%}"""

GEMMA = """{{- '<s>' -}}{%- for m in messages -%}
{%- if m.role == 'system' -%}{{- raise_exception('System role not supported') -}}{%- endif -%}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' -}}
{{- m.content | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"""

PHI3 = """{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

ZEPHYR = """{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}\
{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}"""

DEEPSEEK = """{{- '<s>' -}}{%- for m in messages -%}
{%- if m.role == 'user' -%}{{- '<|User|>' + m.content -}}{%- endif -%}
{%- if m.role == 'system' -%}{{- m.content -}}{%- endif -%}
{%- if m.role == 'assistant' -%}
{{- '<|Assistant|>' + m.content.split('</think>')[-1] + '</s>' -}}{%- endif -%}
{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|Assistant|><think>\\n' -}}{%- endif -%}"""

NO_END = """{% for m in messages %}{{ m.role + ':\\n' + m.content + '\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"""

QWEN3 = """{%- set ns = namespace(question=-1) -%}
{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set ns.question = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- if tools -%}{{- '<|im_start|>system\\n# Tools\\n' -}}
{%- for tool in tools -%}{{- tool | tojson + '\\n' -}}{%- endfor -%}
{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{%- set think = (m.reasoning_content or '').strip('\\n') -%}
{%- set answer = m.content -%}
{%- if not think and '</think>' in answer -%}
{%- set think = answer.split('</think>')[0].split('<think>')[-1].strip('\\n') -%}
{%- set answer = answer.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if loop.index0 > ns.question and (loop.last or think) -%}
{{- '<think>\\n' + think + '\\n</think>\\n\\n' -}}{%- endif -%}
{{- answer -}}
{%- for call in m.tool_calls or [] -%}
{{- ('' if loop.first and not answer else '\\n') + '<tool_call>\\n{"name": "' + call.function.name -}}
{{- '", "arguments": ' + call.function.arguments | tojson + '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- elif m.role == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' -}}
{%- else -%}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""

GPT_OSS = """{%- set ns = namespace(name=none) -%}
{%- if tools -%}{{- '<|start|>developer<|message|>' + tools | tojson + '<|end|>' -}}{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' and m.tool_calls -%}
{%- set ns.name = m.tool_calls[0].function.name -%}
{%- if m.thinking -%}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' -}}{%- endif -%}
{{- '<|start|>assistant to=functions.' + ns.name + '<|channel|>commentary json<|message|>' -}}
{{- m.tool_calls[0].function.arguments | tojson + '<|call|>' -}}
{%- elif m.role == 'assistant' -%}
{%- set ns.name = none -%}
{%- if m.thinking and loop.last -%}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' -}}{%- endif -%}
{{- '<|start|>assistant<|channel|>final<|message|>' + m.content -}}
{{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' -}}
{%- elif m.role == 'tool' -%}
{%- if ns.name is none -%}{{- raise_exception('no previous tool call') -}}{%- endif -%}
{{- '<|start|>functions.' + ns.name + ' to=assistant<|message|>' + m.content | tojson + '<|end|>' -}}
{%- else -%}{{- '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}"""


@dataclass(frozen=True)
class Style:
    """A chat template, and what is to be trained of an assistant's text: that text between `before` and `after`."""

    name: str
    template: str
    after: str
    before: str = ""
    last_before: str | None = None
    last_after: str | None = None
    trims: bool = False
    system: bool = True
    quotes: tuple[str, ...] = ()
    given: str = ""

    def expected(self, messages: Turns) -> list[str]:
        """The trained runs of text, one for each assistant turn."""
        runs = []
        for number, message in enumerate(messages):
            if message["role"] == "assistant":
                last = number == len(messages) - 1
                content = message["content"].strip() if self.trims else message["content"]
                before = self.last_before if last and self.last_before is not None else self.before
                after = self.last_after if last and self.last_after is not None else self.after
                runs.append((before + content + after).removeprefix(self.given))
        return runs


STYLES = [
    Style("chatml", CHATML, "<|im_end|>", quotes=("<|im_start|>", "assistant\n", "<|im_end|>\n<|im_start|>user\n")),
    Style("chatml-default-system", CHATML_DEFAULT_SYSTEM, "<|im_end|>", quotes=("<|im_start|>assistant\n",)),
    Style("llama3", LLAMA3, "<|eot_id|>", trims=True, quotes=("<|eot_id|>", "<|end_header_id|>\n\n")),
    Style("llama2", LLAMA2, " </s>", before=" ", quotes=(" [/INST] ", " </s>", "<s>[INST] ")),
    Style("mistral", MISTRAL, "</s>", system=False, quotes=("[/INST]", "</s>", "[INST]")),
    Style("gemma", GEMMA, "<end_of_turn>", trims=True, system=False, quotes=("<end_of_turn>\n", "model\n")),
    Style("phi3", PHI3, "<|end|>", quotes=("<|end|>\n<|assistant|>\n", "</s>")),
    Style("zephyr", ZEPHYR, "</s>", before="\n", quotes=("</s>\n", "<|assistant|>\n")),
    Style("deepseek", DEEPSEEK, "</s>", quotes=("<|Assistant|>", "</s><|User|>", "<think>\n"), given="<think>\n"),
    Style("no-end", NO_END, "", quotes=("\nuser:\n", "assistant:\n")),
    Style("qwen3", QWEN3, "<|im_end|>", last_before="<think>\n\n</think>\n\n", quotes=("<|im_end|>\n", "<think>\n")),
    Style(
        "gpt-oss",
        GPT_OSS,
        "<|end|>",
        before="<|channel|>final<|message|>",
        last_after="<|return|>",
        quotes=("<|start|>assistant", "<|channel|>final<|message|>", "<|end|>", "<|return|>"),
    ),
]


@pytest.fixture(scope="module", params=STYLES, ids=lambda style: style.name)
def style(request: pytest.FixtureRequest) -> Style:
    chosen: Style = request.param
    return chosen


@pytest.fixture(scope="module")
def encoder(style: Style, make_tokenizer: Callable[..., Any]) -> Encoder:
    return Encoder(make_tokenizer(style.template))


def chat(*texts: str, system: str | None = None) -> Turns:
    turns: Turns = [] if system is None else [{"role": "system", "content": system}]
    for number, text in enumerate(texts):
        turns.append({"role": ("user", "assistant")[number % 2], "content": text})
    return turns


def example(messages: Turns, **row: Any) -> Conversation:
    made = convert({"messages": messages, **row}, "messages", DatasetOptions())
    assert isinstance(made, Conversation)
    return made


def runs(encoded: Encoded, tokenizer: Any) -> Iterator[str]:
    """The text of each unbroken run of trained tokens."""
    run: list[int] = []
    for label in [*encoded.labels, -100]:
        if label != -100:
            run.append(label)
        elif run:
            yield tokenizer.decode(run, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            run = []


def trained(tokenizer_or_encoder: Any, messages: Turns, **row: Any) -> list[str]:
    """What is trained of the messages; also that nothing but the labels was changed."""
    encoder = tokenizer_or_encoder if isinstance(tokenizer_or_encoder, Encoder) else Encoder(tokenizer_or_encoder)
    made = example(messages, **row)
    encoded = encoder.encode(made, "data.jsonl:1")
    whole = encoder.tokenizer.apply_chat_template(list(made.messages), tools=list(made.tools) or None, tokenize=False)
    assert encoded.input_ids == encoder.tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert all(label in (-100, token) for token, label in zip(encoded.input_ids, encoded.labels, strict=True))
    assert encoded.labels[0] == -100
    return list(runs(encoded, encoder.tokenizer))


CONVERSATIONS = {
    "one answer": chat("what is the answer", "a short answer"),
    "three answers": chat("one", "first", "two", "second", "three", "third"),
    "unicode": chat("wie geht's 你好", "naïve 😀👩‍👩‍👧 é 答え", "😀", "👍🏽"),
    "space at the edges": chat("  hi \n", "  two spaces and a newline \n\n", " again ", "\n\n\tanswer\t "),
    "the same text again": chat("ok", "ok", "ok", "ok", "ok ok", "ok"),
    "text of the roles": chat("user", "assistant", "assistant", "user"),
    "private characters": chat("\U000f0000\U000f0001", "\U000f0000 and \uf8ff"),
    "one character": chat("a", "b", "", "c"),
    "no last answer": chat("one", "first", "two"),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_only_the_assistant_turns_are_trained(style: Style, encoder: Encoder, name: str) -> None:
    messages = CONVERSATIONS[name]
    assert trained(encoder, messages) == style.expected(messages)


def test_a_system_prompt_is_not_trained(style: Style, encoder: Encoder) -> None:
    messages = chat("what", "the answer", system="be short")
    if style.system:
        assert trained(encoder, messages) == style.expected(messages)
    else:
        with pytest.raises(DatasetError, match=r"data.jsonl:1: the chat template does not take the row: .+"):
            trained(encoder, messages)


def test_text_that_quotes_the_template_does_not_confuse(style: Style, encoder: Encoder) -> None:
    for quote in style.quotes:
        for messages in (
            chat(quote, "answer"),
            chat(f"a{quote}answer{quote}b", "answer", quote, "answer"),
            chat(quote, f"x{quote}y", quote, f"x{quote}y"),
            chat("one", f"{quote}z", "two", f"z{quote}", "three", "z"),
        ):
            assert trained(encoder, messages) == style.expected(messages)


def test_a_question_that_contains_a_whole_fake_conversation(style: Style, encoder: Encoder) -> None:
    inner = chat("what", "fake answer", "more", "fake again")
    fake = encoder.tokenizer.apply_chat_template(inner, tokenize=False)
    for messages in (chat(fake, "answer", fake, "fake answer"), chat("what", "fake answer", fake, "fake again")):
        assert trained(encoder, messages) == style.expected(messages)


PIECES = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(sorted({quote for style in STYLES for quote in style.quotes} | {" ", "\n", "ok"})),
)
# A closed reasoning is what some templates cut out; it has tests of its own.
TEXTS = st.lists(PIECES, max_size=4).map("".join).filter(lambda text: "</think>" not in text)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.tuples(TEXTS, TEXTS.filter(str.strip)), min_size=1, max_size=4))
def test_any_conversation_is_trained_exactly(style: Style, encoder: Encoder, turns: list[tuple[str, str]]) -> None:
    messages = chat(*(text for turn in turns for text in turn))
    expected = style.expected(messages)
    if style.name == "no-end":
        # Nothing stands between an empty end of turn and an empty header, so only the texts together can be compared.
        assert "".join(trained(encoder, messages)) == "".join(expected)
    else:
        assert trained(encoder, messages) == expected


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}
WEATHER: Turns = [
    {"role": "user", "content": "weather?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
]
WRITTEN_CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln", "days": 2}}\n</tool_call>'


def test_tool_calls_are_trained_and_tool_results_are_not(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(QWEN3)
    assert trained(tokenizer, WEATHER, tools=[TOOL]) == [
        f"{WRITTEN_CALL}<|im_end|>",
        "<think>\n\n</think>\n\nIt is sunny.<|im_end|>",
    ]
    both = [{**WEATHER[1], "content": "Let me look.", "tool_calls": [CALL, CALL]}]
    assert trained(tokenizer, [WEATHER[0], *both, *WEATHER[2:]])[0] == (
        f"Let me look.\n{WRITTEN_CALL}\n{WRITTEN_CALL}<|im_end|>"
    )


def test_a_tool_result_that_quotes_the_call_does_not_confuse(make_tokenizer: Callable[..., Any]) -> None:
    quoted = f"{WRITTEN_CALL}<|im_end|>\n<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n"
    messages = [WEATHER[0], WEATHER[1], {"role": "tool", "content": quoted}, WEATHER[1], WEATHER[2], WEATHER[3]]
    assert trained(make_tokenizer(QWEN3), messages) == [
        f"{WRITTEN_CALL}<|im_end|>",
        f"{WRITTEN_CALL}<|im_end|>",
        "<think>\n\n</think>\n\nIt is sunny.<|im_end|>",
    ]


def test_a_call_whose_arguments_quote_what_follows_is_trained_whole(make_tokenizer: Callable[..., Any]) -> None:
    following = "<|im_end|>\n<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n"
    call = {"function": {"name": "weather", "arguments": {"city": "x" + following.replace("\n", "") + "y"}}}
    content = f"a{following}<|im_start|>assistant\nb{following}c"
    messages = [WEATHER[0], {"role": "assistant", "content": content, "tool_calls": [call]}, *WEATHER[2:]]
    first, last = trained(make_tokenizer(QWEN3), messages)
    assert first.startswith(content)
    assert first.endswith("</tool_call><|im_end|>")
    assert last == "<think>\n\n</think>\n\nIt is sunny.<|im_end|>"


def test_reasoning_is_trained_where_the_template_writes_it(make_tokenizer: Callable[..., Any]) -> None:
    messages: Turns = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "first", "reasoning_content": "hm"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "", "reasoning_content": "aha", "tool_calls": [CALL]},
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "second", "reasoning_content": "so"},
    ]
    encoder = Encoder(make_tokenizer(QWEN3))
    assert trained(encoder, messages) == [
        "first<|im_end|>",
        f"<think>\naha\n</think>\n\n{WRITTEN_CALL}<|im_end|>",
        "<think>\nso\n</think>\n\nsecond<|im_end|>",
    ]
    assert any("earlier assistant turns" in warning for warning in encoder.warnings)


def test_reasoning_inside_the_content_is_trained(make_tokenizer: Callable[..., Any]) -> None:
    thought = "<think>\nhm\n</think>\n\n"
    messages = chat("one", f"{thought}first", "two", f"{thought}second")
    assert trained(make_tokenizer(QWEN3), messages) == ["first<|im_end|>", f"{thought}second<|im_end|>"]
    assert trained(make_tokenizer(CHATML), messages) == [f"{thought}first<|im_end|>", f"{thought}second<|im_end|>"]


def test_what_the_generation_prompt_gives_is_not_trained(make_tokenizer: Callable[..., Any]) -> None:
    opened = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    messages = chat("one", "<think>\nhm\n</think>\n\nfirst", "two", "second")
    assert trained(make_tokenizer(opened), messages) == ["hm\n</think>\n\nfirst<|im_end|>", "second<|im_end|>"]


def test_reasoning_is_trained_where_the_generation_prompt_has_an_empty_one(make_tokenizer: Callable[..., Any]) -> None:
    # Templates of models that do not think unless they are asked to.
    empty = "<think>\\n\\n</think>\\n\\n"
    template = QWEN3.replace(
        "'<|im_start|>assistant\\n' -}}{%- endif -%}", "'<|im_start|>assistant\\n" + empty + "' -}}{%- endif -%}"
    )
    assert template != QWEN3
    thought: Turns = [*chat("one"), {"role": "assistant", "content": "first", "reasoning_content": "so"}]
    assert trained(make_tokenizer(template), thought) == ["so\n</think>\n\nfirst<|im_end|>"]
    assert trained(make_tokenizer(template), chat("one", "first")) == ["first<|im_end|>"]


def test_a_generation_prompt_that_opens_the_reasoning_which_an_answer_closes(
    make_tokenizer: Callable[..., Any],
) -> None:
    # As in Nemotron: `<think></think>` is written before an answer without reasoning, and `<think>\\n` is given.
    content = "('' if '<think>' in m.content or m.role == 'user' else '<think></think>') + m.content"
    template = CHATML.replace("m.content", content).replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    messages = chat("one", "first", "two", "<think>\nso\n</think>\nsecond")
    assert trained(make_tokenizer(template), messages) == ["first<|im_end|>", "so\n</think>\nsecond<|im_end|>"]


def test_reasoning_that_the_template_leaves_out_is_refused(make_tokenizer: Callable[..., Any]) -> None:
    for question, answer in (("one", "<think>\nhm\n</think>\n\nfirst"), ("</think>", "</think>")):
        with pytest.raises(DatasetError, match="leaves out the reasoning of message 2"):
            trained(make_tokenizer(DEEPSEEK), chat(question, answer))
    with pytest.raises(DatasetError, match="leaves out the reasoning of message 2"):
        trained(
            make_tokenizer(CHATML),
            [*chat("one"), {"role": "assistant", "content": "first", "reasoning_content": "because"}],
        )


def test_ends_of_turn_that_differ_for_calls_and_answers(make_tokenizer: Callable[..., Any]) -> None:
    turns = [*WEATHER, {"role": "user", "content": "and?"}, {**WEATHER[3], "content": "Bye.", "thinking": "done"}]
    turns[1] = {**WEATHER[1], "thinking": "look it up"}
    assert trained(make_tokenizer(GPT_OSS), turns, tools=[TOOL]) == [
        "<|channel|>analysis<|message|>look it up<|end|><|start|>assistant to=functions.weather"
        '<|channel|>commentary json<|message|>{"city": "Köln", "days": 2}<|call|>',
        "<|channel|>final<|message|>It is sunny.<|end|>",
        "<|channel|>analysis<|message|>done<|end|><|start|>assistant<|channel|>final<|message|>Bye.<|return|>",
    ]


def test_arguments_are_given_as_text_to_a_template_that_joins_them(make_tokenizer: Callable[..., Any]) -> None:
    for joined in ("call.function.arguments + ''", "call.function.arguments ~ ''"):
        template = QWEN3.replace("call.function.arguments | tojson", f"({joined})")
        encoder = Encoder(make_tokenizer(template))
        encoded = encoder.encode(example(WEATHER), "data.jsonl:1")
        assert next(runs(encoded, encoder.tokenizer)) == f"{WRITTEN_CALL}<|im_end|>"


@pytest.mark.parametrize(
    ("template", "row", "message"),
    [
        (CHATML, {"messages": WEATHER}, "leaves out the call of 'weather' in message 2"),
        (CHATML, {"messages": chat("a", "b"), "tools": [TOOL]}, "leaves out 'tools'"),
        (
            CHATML.replace("m.content", "m.content[:3]"),
            {"messages": chat("a", "long")},
            "leaves out a part of message 2 .*, 'g'",
        ),
        (CHATML.replace("m.content", "m.content[:3]"), {"messages": chat("long", "b")}, "leaves out message 1"),
        (
            CHATML.replace("m.content", "'fixed'"),
            {"messages": chat("fix", "long")},
            "leaves out a part of message 2 .*, 'long'",
        ),
        (DEEPSEEK, {"messages": [{"role": "developer", "content": "x"}, *chat("a", "b")]}, r"message 1 .*'developer'"),
        (MISTRAL, {"messages": chat("a", "b")[::-1]}, "roles must alternate"),
        ("{{ messages[0].nothing.there }}", {"messages": chat("a", "b")}, "does not take the row"),
    ],
)
def test_what_a_template_leaves_out_is_refused_with_the_row(
    make_tokenizer: Callable[..., Any], template: str, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as raised:
        encode(convert(row, "messages", DatasetOptions()), make_tokenizer(template), "data.jsonl:7")
    assert str(raised.value).startswith("data.jsonl:7: ")


def test_a_template_without_end_of_turn_is_warned_about_once(make_tokenizer: Callable[..., Any]) -> None:
    encoder = Encoder(make_tokenizer(NO_END))
    for _ in range(3):
        trained(encoder, chat("one", "first", "two", "second"))
    assert len(encoder.warnings) == 1
    assert "learn to stop" in encoder.warnings[0]
    ended = Encoder(make_tokenizer(CHATML))
    trained(ended, chat("one", "first"))
    assert ended.warnings == ()


def test_unmask_trains_all_but_the_system_turn_without_their_headers(make_tokenizer: Callable[..., Any]) -> None:
    messages = chat("<|im_end|>\n", "first", " two ", "first", system="be short")
    for template in (CHATML, QWEN3):
        got = trained(make_tokenizer(template), messages, unmask=True)
        before = "<think>\n\n</think>\n\n" if template is QWEN3 else ""
        assert got == ["<|im_end|>\n", "first<|im_end|>", " two ", f"{before}first<|im_end|>"]
    tools = trained(make_tokenizer(QWEN3), WEATHER, unmask=True)
    assert tools[:3] == ["weather?", f"{WRITTEN_CALL}<|im_end|>", "sunny"]


def test_only_the_completion_of_message_pairs_is_trained(make_tokenizer: Callable[..., Any]) -> None:
    row = {"prompt": chat("one", "first", "two"), "completion": [{"role": "assistant", "content": "second"}]}
    tokenizer = make_tokenizer(CHATML)
    encoded = encode(convert(row, "prompt_completion", DatasetOptions()), tokenizer, "here")
    assert list(runs(encoded, tokenizer)) == ["second<|im_end|>"]


def test_assistant_turns_after_one_another_and_first(make_tokenizer: Callable[..., Any]) -> None:
    messages: Turns = [
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "first"},
        {"role": "assistant", "content": "and more"},
    ]
    for template in (CHATML, CHATML_DEFAULT_SYSTEM):
        ended = [f"{text}<|im_end|>" for text in ("hello", "first", "and more")]
        assert trained(make_tokenizer(template), messages) == ended


def test_special_tokens_that_swallow_space_stay_on_their_side(make_tokenizer: Callable[..., Any]) -> None:
    # As in Phi-3, whose <|assistant|> swallows the newline after it and <|end|> the space before it.
    for options in ({"rstrip": True}, {"lstrip": True}, {"lstrip": True, "trim": True}, {"rstrip": True, "trim": True}):
        tokenizer = make_tokenizer(PHI3, **options)
        first, second = trained(tokenizer, chat("a", "\n\n first \n", "b", " second "))
        assert (first.strip(), first.count("<|"), second.count("<|")) == (
            first.strip().removesuffix("<|end|>") + "<|end|>",
            1,
            1,
        )
        assert "first" in first
        assert "second" in second


def test_spaces_are_trained_by_tokenizers_that_trim_offsets(make_tokenizer: Callable[..., Any]) -> None:
    messages = chat("a  b", "  first   answer  ", "c", "   d")
    assert trained(make_tokenizer(CHATML, trim=True), messages) == [
        "  first   answer  <|im_end|>",
        "   d<|im_end|>",
    ]


def test_a_token_over_the_edge_of_a_turn_is_trained(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(CHATML, lines=["\n\n\n\n x"] * 50)
    (run,) = trained(tokenizer, chat("a", "\n\n\nanswer"))
    assert run in ("\n\n\nanswer<|im_end|>", "\n\n\n\nanswer<|im_end|>")


def test_a_tokenizer_that_lacks_something_is_refused(make_tokenizer: Callable[..., Any]) -> None:
    class Slow:
        def __init__(self, inner: Any) -> None:
            self.inner = inner
            self.is_fast = False

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    with pytest.raises(ModelError, match=r"no chat template.*chat_template\.jinja"):
        encode(example(chat("a", "b")), make_tokenizer(None), "here")
    with pytest.raises(ModelError, match="not a fast one"):
        encode(example(chat("a", "b")), Slow(make_tokenizer(CHATML)), "here")
