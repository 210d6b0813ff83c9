"""The value of a Proxy-Authorization header, parsed but not verified (RFC 9110 §11.7.2).

No message here repeats a byte of the header: whatever was typed there may be the secret.
"""

import re
from binascii import a2b_base64

from stagedoor.model.credential import Credential, PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason

# RFC 6750 §2.1: b64token.
_BEARER = re.compile(rb"[A-Za-z0-9._~+/-]++=*+")
# RFC 7617 §2 forbids control characters; Latin-1's would pass through UTF-8 into a terminal.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def parse_credential(value: bytes) -> Credential | Denial:
    """Parse the header's value, without the white space around it.

    An unknown scheme is CREDENTIAL_WRONG, so that the answer's challenges list the supported schemes. A
    malformed Basic or Bearer is BAD_REQUEST: the program is wrong, not the password, and prompting for
    another password would not help.
    """
    scheme, _, rest = value.partition(b" ")
    # RFC 9110 §11.1: the scheme is case-insensitive; §11.4: one or more spaces follow it.
    match scheme.lower():
        case b"basic":
            return _parse_basic(rest.strip(b" \t"))
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


def _parse_basic(encoded: bytes) -> PasswordCredential | Denial:
    """Parse base64 of the UTF-8 of `name ":" password` (RFC 7617). Only the password may contain a colon."""
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
