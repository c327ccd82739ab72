"""Who may use the operator's API: whoever holds the bearer token."""

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

LEAST_TOKEN_LENGTH = 16
"""A shorter token could be guessed."""

_BEARER = HTTPBearer(auto_error=False, description="The operator token given to the API process")


class TokenRefused(Exception):
    """No bearer token, or not the right one; callers are not told which."""


def required(token: str) -> Callable[..., None]:
    """A dependency that lets only bearers of `token` through. Raises ValueError for a token too short to be one."""
    if len(token) < LEAST_TOKEN_LENGTH:
        raise ValueError(f"an operator token needs at least {LEAST_TOKEN_LENGTH} characters")

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if given is None or not _same(given.credentials, token):
            raise TokenRefused

    return check


def is_bearer(authorization: str | None, token: str) -> bool:
    """Whether an Authorization header bears `token`."""
    scheme, given = get_authorization_scheme_param(authorization)
    return scheme.lower() == "bearer" and _same(given, token)


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())
