"""The demo's settings, with passwords that are checked fast: fuzzing sends one with each of thousands of requests."""

from demo_project.settings import *  # noqa: F403
from demo_project.settings import REST_FRAMEWORK

# Fuzzing sends more requests a minute than a person: 429 would be the answer to most of them.
REST_FRAMEWORK = {**REST_FRAMEWORK, "DEFAULT_THROTTLE_CLASSES": []}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
