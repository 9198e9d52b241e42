"""What is trained of every kind of row, with templates of installed packages; `nox -s templates` tries all of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
sys.path.insert(0, str(Path(__file__).parent))

from collection import Template, templates
from judge import Judge, Verdict
from kinds import KINDS

# Each writes in a way of its own: calls, results, reasoning, ends of turns, parts, loops over numbers, macros.
SOME = (
    "deepseekv3", "diffusion_gemma", "gemma4_v5", "glm4moe", "gptoss", "idefics3", "lfm2_v2", "llama3_1", "llava_next",
    "muse_glimmer", "nemotron_3_nano", "phi3_5", "qwen3", "qwen3_5_think", "qwen3_vl",
)  # fmt: skip


@pytest.fixture(scope="module")
def judges() -> dict[str, Judge]:
    found = {template.name: template for template in templates()}
    return {name: Judge(found[f"trl/{name}"]) for name in SOME}


@pytest.mark.parametrize("name", SOME)
def test_what_is_trained_is_what_the_model_writes(judges: dict[str, Judge], name: str) -> None:
    verdicts = {kind: judges[name].judge(row) for kind, row in KINDS.items()}
    assert {kind: verdict.why for kind, verdict in verdicts.items() if verdict.outcome == "wrong"} == {}
    assert sum(verdict.outcome == "exact" for verdict in verdicts.values()) >= 14


CALL = '{city:<|"|>ARGa<|"|>,days:2}'
TRAINED = {
    ("gemma4_v5", "a call, its result, an answer"): (
        f"<|tool_call>call:get_weather{CALL}<tool_call|><|tool_response>",
        "ASTa<turn|>",
    ),
    ("gptoss", "a call, its result, an answer"): (
        ' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "ARGa", "days": 2}<|call|>',
        "<|channel|>final<|message|>ASTa<|return|>",
    ),
    ("idefics3", "one answer"): (" ASTa<end_of_utterance>",),
    ("qwen3", "only the last answer"): ("<think>\n\n</think>\n\nASTb<|im_end|>",),
    ("qwen3_5_think", "reasoning"): ("RSNa\n</think>\n\nASTa<|im_end|>",),
    ("nemotron_3_nano", "one answer"): ("ASTa<|im_end|>",),
    ("phi3_5", "three answers"): ("ASTa<|end|>", "ASTb<|end|>", "ASTc<|end|>"),
}


@pytest.mark.parametrize(("name", "kind"), TRAINED)
def test_the_trained_text(judges: dict[str, Judge], name: str, kind: str) -> None:
    assert judges[name].judge(KINDS[kind]).trained == TRAINED[name, kind]


REFUSED = {
    ("gptoss", "two calls at once"): r"leaves out a call of 'get_weather' in message 2",
    ("llama3_1", "two calls at once"): "This model only supports single tool-calls at once!",
    ("idefics3", "a call"): "leaves out 'tools'",
    ("llava_next", "tools offered, none called"): "leaves out 'tools'",
    ("deepseekv3", "reasoning"): r"leaves out the reasoning of message 2 \(role 'assistant'\)",
}


@pytest.mark.parametrize(("name", "kind"), REFUSED)
def test_what_a_template_cannot_write_is_the_reason_of_a_refusal(
    judges: dict[str, Judge], name: str, kind: str
) -> None:
    verdict = judges[name].judge(KINDS[kind])
    assert verdict.outcome == "refused"
    assert re.search(REFUSED[name, kind], verdict.why)


# Mistral's ways with calls: after a header that is no generation prompt, without a header at all, inside what is joined.
INLINE: dict[str, tuple[str, str]] = {
    "a call in brackets": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
        "{% elif m.role == 'tool' %}{{ '[TOOL_RESULTS] ' + m.content + ' [/TOOL_RESULTS]' }}"
        "{% elif m.tool_calls %}{{ '[TOOL_CALLS] [' }}{% for c in m.tool_calls %}"
        "{{ '{\"name\": \"' + c.function.name + '\", \"arguments\": ' + c.function.arguments|tojson + '}' }}"
        "{{ ', ' if not loop.last }}{% endfor %}{{ ']' + eos_token }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}"
        "{% endfor %}",
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "ARGa", "days": 2}}]</s>',
    ),
    "a header without a generation prompt": (
        "{% for m in messages %}{{ '<|' + m.role + '|>\\n' }}{% if m.tool_calls %}{% for c in m.tool_calls %}"
        "{{ '<call>' ~ c.function.name ~ c.function.arguments|tojson }}{% endfor %}{% else %}{{ m.content }}{% endif %}"
        "{{ eos_token + '\\n' }}{% endfor %}",
        '<call>get_weather{"city": "ARGa", "days": 2}</s>',
    ),
    "an end that the next turn writes": (
        "{% for m in messages %}{{ eos_token if loop.previtem and loop.previtem.role == 'assistant' }}"
        "{{ '<' + m.role + '>' }}{% if m.tool_calls %}{% for c in m.tool_calls %}"
        "{{ '<call>' ~ c.function.name ~ c.function.arguments|tojson }}{% endfor %}{% else %}{{ m.content }}{% endif %}"
        "{% if loop.last and m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}",
        '<call>get_weather{"city": "ARGa", "days": 2}</s>',
    ),
}


@pytest.mark.parametrize("way", INLINE)
def test_a_call_is_trained_from_its_opening_to_its_end(way: str) -> None:
    text, first = INLINE[way]
    verdict: Verdict = Judge(Template(way, text)).judge(
        {key: value for key, value in KINDS["a call, its result, an answer"].items() if key != "tools"}
    )
    assert verdict.trained[0] == first
    assert verdict.trained[1].strip() == "ASTa</s>"


def test_earlier_turns_whose_end_the_template_leaves_out_are_warned_of() -> None:
    text = (
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{{ eos_token if loop.last }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    rows: list[Any] = [KINDS["one answer"], KINDS["three answers"]]
    one, three = (Judge(Template("ends", text)).judge(row) for row in rows)
    assert one.warnings == ()
    assert one.trained == ("ASTa</s>",)
    assert three.trained == ("ASTa", "ASTb", "ASTc</s>")
    assert any("2 of the assistant turns" in said and "message 2 of row" in said for said in three.warnings)
