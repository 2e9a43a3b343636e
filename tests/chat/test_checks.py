import pytest

from context_store.chat.checks import check_answer


def answer(prompt: object) -> str:
    return "no generator"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "E601"),
        ("nowhere.answer", "E602"),
        ("tests.chat.test_checks.answer", "E602"),
        ("tests.chat.model.answer", None),
    ],
)
def test_what_answers_is_checked(settings: object, value: str | None, code: str | None) -> None:
    settings.CONTEXT_STORE_CHAT_ANSWER = value  # type: ignore[attr-defined]
    assert [problem.id for problem in check_answer()] == ([f"context_store.{code}"] if code else [])
