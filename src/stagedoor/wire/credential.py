"""What stands in a Proxy-Authorization header, read but not believed (RFC 9110 §11.7.2).

No message here repeats a byte of the header: whatever was typed there may be the secret.
"""

import re
from binascii import a2b_base64

from stagedoor.model.credential import Credential, PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason

# RFC 6750 §2.1: b64token.
_BEARER = re.compile(rb"[A-Za-z0-9._~+/-]++=*+")
# RFC 7617 §2 forbids control characters; those of Latin-1 would pass through UTF-8 into a terminal.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def parse_credential(value: bytes) -> Credential | Denial:
    """Read the header's value, without the white space around it.

    A scheme that we don't speak is CREDENTIAL_WRONG, so that the answer's challenges tell the
    other end which we do. Basic or Bearer that is broken is BAD_REQUEST: the program is wrong,
    not the password, and asking for another would not mend it.
    """
    scheme, _, rest = value.partition(b" ")
    # RFC 9110 §11.1: the scheme is case-insensitive; §11.4: one or more spaces follow it.
    match scheme.lower():
        case b"basic":
            return _basic(rest.strip(b" \t"))
        case b"bearer":
            token = rest.strip(b" \t")
            if not _BEARER.fullmatch(token):
                return _broken("the Bearer token is empty or has a character that no token has")
            return TokenCredential(token.decode("ascii"))
        case _:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                "this gateway takes Basic or Bearer in Proxy-Authorization, no other scheme",
            )


def _basic(encoded: bytes) -> PasswordCredential | Denial:
    """RFC 7617: base64 of UTF-8 of `name ":" password`; only the name may hold no colon."""
    try:
        text = a2b_base64(encoded, strict_mode=True).decode("utf-8")
    except UnicodeDecodeError:
        return _broken("the Basic name and password are not UTF-8")
    except ValueError:
        return _broken("the Basic credential is not base64")
    name, colon, secret = text.partition(":")
    if not colon:
        return _broken("the Basic credential has no colon between name and password")
    if _CONTROL.search(text):
        return _broken("the Basic name or password has a control character in it")
    return PasswordCredential(name, secret)


def _broken(message: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, message)
