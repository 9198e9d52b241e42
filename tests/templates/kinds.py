"""Kinds of rows, each text of which has a word of its own, so that a judge sees where it went."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def user(text: str) -> Row:
    return {"role": "user", "content": f"USR{text}"}


def answer(text: str, **more: Any) -> Row:
    return {"role": "assistant", "content": f"AST{text}", **more}


def system(text: str = "s") -> Row:
    return {"role": "system", "content": f"SYS{text}"}


def call(number: int = 0, **arguments: Any) -> Row:
    function = {"name": "get_weather", "arguments": arguments}
    return {"type": "function", "id": f"call0000{number}", "function": function}


def calling(*calls: Row, text: str = "", **more: Any) -> Row:
    return {"role": "assistant", "content": text, "tool_calls": list(calls), **more}


def result(text: str, number: int = 0) -> Row:
    return {"role": "tool", "name": "get_weather", "tool_call_id": f"call0000{number}", "content": f"TOL{text}"}


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "says the weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "where"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CITY = call(city="ARGa", days=2)


def chat(*messages: Row, **row: Any) -> Row:
    return {"messages": list(messages), **row}


def tooled(*messages: Row, **row: Any) -> Row:
    return {"messages": list(messages), "tools": [TOOL], **row}


KINDS: dict[str, Row] = {
    "one answer": chat(user("a"), answer("a")),
    "three answers": chat(user("a"), answer("a"), user("b"), answer("b"), user("c"), answer("c")),
    "a system message": chat(system(), user("a"), answer("a")),
    "a system message, three answers": chat(
        system(), user("a"), answer("a"), user("b"), answer("b"), user("c"), answer("c")
    ),
    "space at the edges": chat(user("a \n"), answer("a\n\n"), user("b "), answer("b  \n")),
    "an empty question": chat({"role": "user", "content": ""}, answer("a")),
    "an answer first": chat(answer("a"), user("b"), answer("b")),
    "two answers after one another": chat(user("a"), answer("a"), answer("b")),
    "two questions after one another": chat(user("a"), user("b"), answer("b")),
    "a question last": chat(user("a"), answer("a"), user("b")),
    "a developer message": chat({"role": "developer", "content": "SYSd"}, user("a"), answer("a")),
    "a system message in the middle": chat(user("a"), answer("a"), system("m"), user("b"), answer("b")),
    "words of the template": chat(user("assistant\n"), answer(" user\nassistant\n")),
    "an answer of several paragraphs": chat(user("a"), answer("a\n\nand more\n\n- one\n- two")),
    "only the last answer": chat(user("a"), answer("a", weight=0), user("b"), answer("b", weight=1)),
    "only an earlier answer": chat(user("a"), answer("a", train=True), user("b"), answer("b", train=False)),
    "a prompt and a completion": {"prompt": [user("a"), answer("p"), user("b")], "completion": [answer("b")]},
    "all but the system message": chat(system(), user("a"), answer("a"), user("b"), answer("b"), unmask=True),
    "thinking switched off": chat(user("a"), answer("a"), chat_template_kwargs={"enable_thinking": False}),
    "a call": tooled(user("a"), calling(CITY)),
    "a call, its result, an answer": tooled(user("a"), calling(CITY), result("a"), answer("a")),
    "a call with a text": tooled(user("a"), calling(CITY, text="ASTc"), result("a"), answer("a")),
    "two calls at once": tooled(
        user("a"), calling(CITY, call(1, city="ARGb")), result("a"), result("b", 1), answer("a")
    ),
    "a call after another": tooled(
        user("a"), calling(CITY), result("a"), calling(call(1, city="ARGb")), result("b", 1), answer("a")
    ),
    "a call after an answer": tooled(
        user("a"), answer("a"), user("b"), calling(CITY), result("a"), answer("b"), user("c"), answer("c")
    ),
    "a call without tools offered": chat(user("a"), calling(CITY), result("a"), answer("a")),
    "a call without arguments": tooled(user("a"), calling(call()), result("a"), answer("a")),
    "a call of nested arguments": tooled(
        user("a"),
        calling(call(city="ARGa", more={"at": ["ARGb", 1, None, True], "deep": {"x": 0.5}})),
        result("a"),
        answer("a"),
    ),
    "tools offered, none called": tooled(system(), user("a"), answer("a")),
    "a result as JSON": tooled(
        user("a"), calling(CITY), {**result("a"), "content": '{"weather": "TOLa"}'}, answer("a")
    ),
    "reasoning": chat(user("a"), answer("a", reasoning_content="RSNa")),
    "reasoning in each answer": chat(
        user("a"), answer("a", reasoning_content="RSNa"), user("b"), answer("b", reasoning_content="RSNb")
    ),
    "reasoning before a call": tooled(
        user("a"),
        calling(CITY, reasoning_content="RSNa"),
        result("a"),
        answer("a", reasoning_content="RSNb"),
    ),
    "reasoning inside the answer": chat(user("a"), {"role": "assistant", "content": "<think>\nRSNa\n</think>\n\nASTa"}),
    "reasoning inside each answer": chat(
        user("a"),
        {"role": "assistant", "content": "<think>\nRSNa\n</think>\n\nASTa"},
        user("b"),
        {"role": "assistant", "content": "<think>\nRSNb\n</think>\n\nASTb"},
    ),
    "several reasonings, and one spoken of": chat(
        user("a"), {"role": "assistant", "content": "<think>RSNa</think> ASTa <think>RSNb</think> ASTb, not </think>"}
    ),
}
