"""The demo's settings, with passwords that are checked fast: fuzzing sends one with each of thousands of requests."""

from demo_project.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
