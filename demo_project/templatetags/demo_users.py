import os

from django import template

from demo_project.users import NAMES

register = template.Library()


@register.simple_tag
def demo_users() -> tuple[str, ...]:
    return NAMES


@register.simple_tag
def demo_model() -> str:
    """Say what answers."""
    if os.environ.get("DEMO_MODEL_URL"):
        return f"Answers come from {os.environ.get('DEMO_MODEL') or 'the model'} at {os.environ['DEMO_MODEL_URL']}."
    return "The built-in model answers, without a network. DEMO_MODEL_URL names a real one."
