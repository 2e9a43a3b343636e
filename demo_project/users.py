"""Who signs in to the demo."""

import secrets
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model

from .files import read_or_create

NAME = "demo"


class Credentials(NamedTuple):
    """``password`` is ``None`` where somebody has set another one."""

    name: str
    password: str | None


def ensure_user() -> Credentials:
    """Make the user who may do everything, with a random password, unless there is one; return how to sign in."""
    password = read_or_create(settings.DEMO_FOLDER / "password", lambda: secrets.token_urlsafe(12))
    users = get_user_model()._default_manager
    user = users.filter(username=NAME).first()
    if user is None:
        users.create_superuser(username=NAME, email="demo@example.com", password=password)
    elif not user.check_password(password):
        return Credentials(NAME, None)
    return Credentials(NAME, password)
