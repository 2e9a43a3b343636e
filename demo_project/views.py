"""Signing in by the link of the terminal, and as another user in one click."""

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model, login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_POST, require_safe

from .users import NAME, NAMES, sign_in_key

# The session of who may be any of the demo's users.
MAY_SWITCH = "demo_may_switch"


@require_safe
def sign_in(request: HttpRequest, key: str) -> HttpResponse:
    """Sign in as the demo's user who has the link that the terminal shows."""
    if not settings.DEBUG or not constant_time_compare(key, sign_in_key()):
        raise PermissionDenied
    return signed_in(request, NAME)


@require_POST
def switch_user(request: HttpRequest) -> HttpResponse:
    """Go on as another of the demo's users."""
    is_own = request.user.is_authenticated and request.user.get_username() == NAME
    if not settings.DEBUG or not (is_own or request.session.get(MAY_SWITCH)):
        raise PermissionDenied
    name = request.POST.get("name", "")
    if name not in NAMES:
        raise PermissionDenied
    return signed_in(request, name)


def signed_in(request: HttpRequest, name: str) -> HttpResponse:
    user = get_object_or_404(get_user_model(), username=name)
    if request.session.get(MAY_SWITCH):
        # In the session that there is. login() would end it, and so would what an open page asks meanwhile the new one.
        hashed = user.get_session_auth_hash()
        request.session.update({SESSION_KEY: str(user.pk), HASH_SESSION_KEY: hashed})
    else:
        login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
        request.session[MAY_SWITCH] = True
    return HttpResponseRedirect("/")
