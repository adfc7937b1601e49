"""What a request says of who sends it -> the secret; pure."""

import base64
import binascii

from mirubato.errors import Unauthenticated
from mirubato.limits import SECRET_CHARS_MAX

BASIC, BEARER = "basic", "bearer"


def secret_of_authorization(header: str) -> str:
    """The secret in `Authorization`: `Bearer <token>`, or `Basic` with any user and the token as password.

    Unauthenticated, which never repeats what it was given, for everything else (RFC 6750, RFC 7617).
    """
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == BEARER:
        return _checked(rest.strip())
    if scheme.lower() == BASIC:
        return _checked(_password(rest.strip()))
    raise Unauthenticated("the Authorization header is neither `Bearer <token>` nor Basic with the token as password")


def secret_of_key(header: str) -> str:
    """The secret in `x-api-key`, which is nothing but that."""
    return _checked(header.strip())


def _password(text: str) -> str:
    try:
        pair = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise Unauthenticated("the Basic credentials are not base64 of `user:token`") from error
    return pair.partition(":")[2]


def _checked(secret: str) -> str:
    if not secret:
        raise Unauthenticated("the token is empty")
    if len(secret) > SECRET_CHARS_MAX:
        raise Unauthenticated(f"the token is longer than {SECRET_CHARS_MAX} characters")
    return secret
