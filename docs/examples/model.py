"""Any model that speaks OpenAI's Chat Completions; ``settings.MODEL_URL`` says where it is."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

from django.conf import settings

Messages = list[dict[str, Any]]


def complete(messages: Messages) -> tuple[str, dict[str, Any]]:
    """Return the model's answer, and what it took as ``record_usage`` wants it."""
    with _ask({"messages": messages}) as response:
        answer = json.load(response)
    usage = answer["usage"]
    took = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    return answer["choices"][0]["message"]["content"], {"model": answer["model"], **took}


def stream(messages: Messages) -> Iterator[str]:
    """Yield the model's answer piece by piece."""
    with _ask({"messages": messages, "stream": True}) as response:
        for line in response:
            data = line.decode().strip().removeprefix("data: ")
            if data and data != "[DONE]":
                yield json.loads(data)["choices"][0]["delta"].get("content") or ""


def _ask(body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    data = json.dumps({"model": "any", **body}).encode()
    return urlopen(Request(settings.MODEL_URL, data, headers), timeout=60)  # noqa: S310 - the project's own setting
