"""Who signs in to the demo."""

import secrets
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils.crypto import salted_hmac

from .files import read_or_create

NAME = "demo"
# Users with chats of their own and without rights in the admin: name, first name, last name.
OTHERS = (("alice", "Alice", "Ito"), ("bruno", "Bruno", "Silva"))
NAMES = (NAME, *(name for name, _, _ in OTHERS))


class Credentials(NamedTuple):
    """``password`` is ``None`` where somebody has set another one."""

    name: str
    password: str | None


def ensure_users() -> Credentials:
    """Make the user who may do everything, with a random password, and the others; return how to sign in."""
    password = own_password()
    users = get_user_model()._default_manager
    for name, first, last in OTHERS:
        users.get_or_create(
            username=name,
            defaults={"email": f"{name}@example.com", "first_name": first, "last_name": last, "password": "!"},
        )
    user = users.filter(username=NAME).first()
    if user is None:
        users.create_superuser(username=NAME, email="demo@example.com", password=password)
    elif not user.check_password(password):
        return Credentials(NAME, None)
    return Credentials(NAME, password)


def own_password() -> str:
    return read_or_create(settings.DEMO_FOLDER / "password", lambda: secrets.token_urlsafe(12))


def sign_in_key() -> str:
    """Return what the link in the terminal signs in with: of use on this machine, as long as the password is."""
    return salted_hmac("demo_project.sign_in", own_password()).hexdigest()
