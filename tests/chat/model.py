"""What answers in tests: what the question asks for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from context_store.engine import Prompt
from context_store.messages import text_of


async def answer(prompt: Prompt) -> AsyncIterator[str | dict[str, Any]]:
    question = text_of(prompt.messages[-1])
    if "think" in question:
        yield {"type": "reasoning-start", "id": "r"}
        yield {"type": "reasoning-delta", "id": "r", "delta": "Let me see."}
        yield {"type": "reasoning-end", "id": "r"}
    if "tool" in question:
        yield {"type": "tool-input-available", "toolCallId": "c1", "toolName": "clock", "input": {"zone": "UTC"}}
        yield {"type": "tool-output-available", "toolCallId": "c1", "output": "12:00"}
    if "wait" in question:
        for number in range(600):
            yield f"word{number} "
            await asyncio.sleep(0.1)
    yield f"Answer {sum(message.name == 'user' for message in prompt.messages)} to **{question}**"
    if "fail" in question:
        raise RuntimeError("The model fails.")
