"""
What answers in the demo: any OpenAI-compatible server that the environment names, else a model of a hundred lines.

``DEMO_MODEL_URL`` (``http://127.0.0.1:11434/v1``), ``DEMO_MODEL`` and, where the server wants one, ``DEMO_MODEL_KEY``.
"""

import ast
import asyncio
import operator
import os
import random
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from context_store.engine import Prompt
from context_store.messages import text_of

Chunk = str | dict[str, Any]

# Seconds between two words.
PACE, SLOW_PACE = 0.02, 0.25


async def answer(prompt: Prompt) -> AsyncIterator[Chunk]:
    """Yield an answer to the last message of the prompt."""
    pieces = server_answer(prompt) if os.environ.get("DEMO_MODEL_URL") else own_answer(prompt)
    async for piece in pieces:
        yield piece


async def server_answer(prompt: Prompt) -> AsyncIterator[Chunk]:
    """Ask the server; its thoughts come as reasoning, where it tells them."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(
        base_url=os.environ["DEMO_MODEL_URL"], api_key=os.environ.get("DEMO_MODEL_KEY") or "none"
    ) as client:
        stream = await client.chat.completions.create(
            model=os.environ.get("DEMO_MODEL", ""),
            messages=prompt.openai(drop_unanswered_calls=True),  # type: ignore[arg-type]
            stream=True,
        )
        is_thinking = False
        async for event in stream:
            delta = event.choices[0].delta if event.choices else None
            thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
            if thought:
                if not is_thinking:
                    yield {"type": "reasoning-start", "id": "thoughts"}
                is_thinking = True
                yield {"type": "reasoning-delta", "id": "thoughts", "delta": thought}
            if delta and delta.content:
                if is_thinking:
                    is_thinking = False
                    yield {"type": "reasoning-end", "id": "thoughts"}
                yield delta.content


async def own_answer(prompt: Prompt) -> AsyncIterator[Chunk]:
    """Answer without any model: by what words the question has."""
    question = text_of(prompt.messages[-1])
    words = question.lower()
    pace = SLOW_PACE if "slow" in words else PACE
    number = sum(message.name == "user" for message in prompt.messages)
    yield {"type": "reasoning-start", "id": "thoughts"}
    thoughts = f"Question {number} has {len(question.split())} words. What does it ask for?"
    async for word in spoken(thoughts, pace):
        yield {"type": "reasoning-delta", "id": "thoughts", "delta": word}
    yield {"type": "reasoning-end", "id": "thoughts"}
    if sum_ := re.search(r"[\d(][\d\s.()*/+-]*[*/+-][\d\s.()*/+-]*[\d)]", question):
        async for piece in calculated(sum_[0].strip(), pace):
            yield piece
        return
    if re.search(r"\b(time|clock|today|date)\b", words):
        async for piece in told_time(pace):
            yield piece
        return
    text = next((text for key, text in ANSWERS.items() if re.search(key, words)), None) or general(question)
    if "fail" in words:
        async for word in spoken("I begin, and then something happens that", pace):
            yield word
        raise RuntimeError("The demo's model fails when it is asked to.")
    async for word in spoken(SLOW if "slow" in words else text, pace):
        yield word


async def spoken(text: str, pace: float) -> AsyncIterator[str]:
    """Yield a text word by word."""
    for word in re.findall(r"\s*\S+|\s+$", text):
        yield word
        await asyncio.sleep(pace)


async def called(name: str, given: dict[str, Any], tool: Callable[[], Any]) -> AsyncIterator[Chunk]:
    """Yield the chunks of a tool call, and call the tool."""
    call_id = f"call-{random.randrange(10**9)}"  # noqa: S311 - an id, no secret
    yield {"type": "tool-input-available", "toolCallId": call_id, "toolName": name, "input": given}
    await asyncio.sleep(0.4)
    try:
        yield {"type": "tool-output-available", "toolCallId": call_id, "output": tool()}
    except (ArithmeticError, SyntaxError, ValueError) as error:
        yield {"type": "tool-output-error", "toolCallId": call_id, "errorText": str(error)}


OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def value_of(node: ast.AST) -> float:
    """Return what a sum of the four kinds is. Raises ``ValueError`` for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return float(OPERATORS[type(node.op)](value_of(node.left), value_of(node.right)))
    raise ValueError("Only + - * / of numbers.")


async def calculated(text: str, pace: float) -> AsyncIterator[Chunk]:
    result = None
    async for chunk in called("calculator", {"sum": text}, lambda: value_of(ast.parse(text, mode="eval").body)):
        result = chunk.get("output") if isinstance(chunk, dict) else None
        yield chunk
    said = f"That makes **{result:g}**." if result is not None else "The calculator could not do that."
    async for word in spoken(f"{said} I asked a tool: it is folded above.", pace):
        yield word


async def told_time(pace: float) -> AsyncIterator[Chunk]:
    now = datetime.now(UTC)
    async for chunk in called("clock", {"zone": "UTC"}, lambda: now.isoformat(timespec="seconds")):
        yield chunk
    async for word in spoken(f"It is {now:%A, %d %B %Y}, {now:%H:%M} UTC.", pace):
        yield word


def general(question: str) -> str:
    quoted = "\n".join(f"> {line}" for line in question[:300].splitlines()) or "> (nothing that I can read)"
    return f"You wrote:\n\n{quoted}\n\n{HELP}"


HELP = """I am the demo's **built-in model**: no network, no key, no intelligence. Try:

- `a table` or `some code`, `a poem`, `a picture`, Arabic or Hebrew
- `12 * (3 + 4)` or `what time is it`: I use a *tool*
- `something slow`, and stop it, reload, or look at it in another tab
- `fail`: and answer again

Edit any message of yours, the first one too, and flip between the versions by `‹ 1 / 2 ›`."""

SLOW = "\n".join(
    f"{number}. This is line {number} of a slow answer. Reload the page in the middle: it goes on."
    for number in range(1, 13)
)

# Hills, 160 x 90.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAKAAAABaCAIAAACwpMoFAAACxElEQVR42u3VR24UURSF4bMoloJYAkPGJiMyiAwiY5FBZJDbxgEHHHDAAQ/YxFkE"
    "DEqySm3orqp7X3X17SN98zrv/lYbQyOUwHBwhBIYDrUogeFwixIYjoxSAsPRUUpgODZGCQzHxyiB4cRXSmA4OU4JDKfGKYHh9AQlhT+/93dWzwyc"
    "maD46po2L/UYnJ2kOCpVN5N0D85NUrxUqJtJNwnnpyguKtfNJFqFC1MUO2PdTIphuPiNYuRSN+O+DZemKUaOgd234fI0xcKxbsZ3Hq7MUCzcA/vO"
    "w9UZioV7YN95uDZLsXAP7DsP12cpFu6BfefhxhzFwj2w7zzcnKNYuAf2nYdb3ykW7oF95+H2PMXCPbDvPNyZp1i4B/adh7sLFAv3wL7zcG+BYuRY"
    "130b7i9SjBwDu2/Dg0WKnUvdFMPwcIniwlg30So8WqJ4qVw33SQM/6A4qlA36R48Xqb4KlU39Rg8Waak0DVtPTPwdIUSGJ6tUALD81VKYHixSgkM"
    "L9cogeHVGiUwvP5JCQxv1uli3/CBIrw+l1qY5+DtOi0KHmI343cTifccvNtgNZVvkVf56+6iPgfvN1iWyy3yKmxwFPs5+LDJ4txvkVdqiYtBeA4+"
    "brKIpLfIK7jHaHCeg09b7Ky2W+zoOsmi/uckfVHXT+PzFv+nJ7fY0WFYNcGeU/BF+PKLu/X2Fnn/nFfWnqG9FTT2OaUCYWSbec1J26ZtZ1fVotYW"
    "u+xzKtdBa5utBndtk63twLdrDaW7vshYB/2StrPUXev5AU8BShu7NJQ2dmaoa+zMUNrYpdEX/0v6KG3TMqPhPzJ9mrY5J0Uz//QCdG3IVdG0TSHT"
    "9vCkaMis8F17dVL0dtYAdq35pKh/mYrWeVLoprEpsAKLAosCiwKLAosCiwIrsCiwKLAosCiwKLAosAKLAosCiwKLAosCS0F/Ae8BfUXJswwKAAAA"
    "AElFTkSuQmCC"
)

ANSWERS = {
    "table": """Here is a table of teas:

| Tea | Water | Time | Price of 100 g |
|---|--:|:-:|--:|
| Sencha | 70 °C | 2 min | 9.50 € |
| Oolong | 90 °C | 3 min | 12.00 € |
| Assam | 100 °C | 4 min | 6.20 € |

*Cooler water keeps green tea sweet.*""",
    r"code|python": '''A generator that reads a file in pieces of any size:

```python
from collections.abc import Iterator
from pathlib import Path


def pieces(path: Path, size: int = 64 * 1024) -> Iterator[bytes]:
    """Yield the file's bytes, at most ``size`` at a time."""
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece
```

`:=` binds and tests in one step, so that the loop ends with the file.''',
    "arab|hebrew|rtl|عرب|עבר": """مرحبا! هذا سطر بالعربية، ويُقرأ من اليمين إلى اليسار.

This line is read from left to right.

- שלום, זו שורה בעברית
- Eine Zeile auf Deutsch""",
    "poem": """Two leaves lay in a cup of heat,
one said: *it's here that branches meet.*
The other: *stay, and drink with me,
we are both versions of one tree.*""",
    "picture|image|photo": "Here is one:\n\n![Hills](data:image/png;base64," + PICTURE + ")",
    r"^\s*(hi|hello|hallo|hey)\b": f"Hello! {HELP}",
}
