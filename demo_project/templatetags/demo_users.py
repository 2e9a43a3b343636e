import os

from django import template
from django.utils.translation import gettext as _

from demo_project.users import NAMES

register = template.Library()


@register.simple_tag
def demo_users() -> tuple[str, ...]:
    return NAMES


@register.simple_tag
def demo_model() -> str:
    """Say what answers."""
    if os.environ.get("DEMO_MODEL_URL"):
        names = {"model": os.environ.get("DEMO_MODEL") or _("the model"), "url": os.environ["DEMO_MODEL_URL"]}
        return _("Answers come from %(model)s at %(url)s.") % names
    return _("The built-in model answers, in English and without a network. DEMO_MODEL_URL names a real one.")
