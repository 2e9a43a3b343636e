"""A client of the API that speaks JSON under one prefix."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpResponse
from rest_framework.test import APIClient


class Client:
    """Calls as one user. Paths are relative to the API; bodies are JSON, or bytes that are sent as they are."""

    def __init__(self, user: User | None = None, *, prefix: str = "/api/", session: bool = True) -> None:
        self.client = APIClient()
        self.prefix = prefix
        if user is not None and session:
            self.client.force_login(user)
        elif user is not None:
            self.client.force_authenticate(user)

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.request("POST", path, body, **headers)

    def put(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.request("PUT", path, body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.request("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> HttpResponse:
        return self.request("DELETE", path, **headers)

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> HttpResponse:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        url = path if path.startswith(("http", "/")) else f"{self.prefix}{path}"
        return self.client.generic(method, url, data, content_type, headers=dashed(headers))


def dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def ids(response: HttpResponse) -> list[str]:
    return [item["id"] for item in response.json()["results"]]
