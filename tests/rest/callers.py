"""How the callers of tests say who they are."""

from django.contrib.auth.models import User
from django.core import signing
from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request


class SignedToken(TokenAuthentication):
    """Tokens that need no table: ``Authorization: Token <signed user id>``."""

    def authenticate_credentials(self, key: str) -> tuple[User, str]:
        try:
            return User.objects.get(pk=signing.loads(key)), key
        except signing.BadSignature:
            raise AuthenticationFailed("Invalid token.") from None


def token_for(user: User) -> str:
    return f"Token {signing.dumps(user.pk)}"


def visitor(request: Request) -> str | None:
    """A project's own ``CONTEXT_STORE_USER_ID``: visitors without an account have a header."""
    if request.user.is_authenticated:
        return f"user:{request.user.username}"
    return request.headers.get("X-Visitor")
