"""Fuzz target: answers of an identity provider. Any bytes are refused in one way.

The first byte says what the others are: a callback's query, a discovery document, a key set, a token
answer, an ID token, a machine's token, or claims.
"""

import json
from urllib.parse import parse_qsl

from joserfc.jwk import ECKey

from stagedoor.model.name import is_valid_name
from stagedoor.model.secure_url import check_secure_url
from stagedoor.oidc import id_token, machine, mapping, provider, request
from stagedoor.oidc.errors import OidcError
from stagedoor.oidc.request import Attempt, Tokens

MAX_BYTES = 4096
ISSUER = "https://id.example"
PROVIDER = provider.Provider(ISSUER, f"{ISSUER}/auth", f"{ISSUER}/token", f"{ISSUER}/keys")
RULE = machine.Rule("rule", "x", {"ref": ["main"]})
ATTEMPT = Attempt("state", "nonce", "verifier")
KEYS = id_token.read_keys(
    json.dumps({"keys": [ECKey.generate_key("P-256").as_dict(private=False)]}).encode()
)


def check(received: bytes) -> None:
    kind, rest = received[:1], received[1:]
    try:
        _check(kind, rest)
    except OidcError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it is what must not be


def _check(kind: bytes, rest: bytes) -> None:
    text = rest.decode("latin-1")
    match kind:
        case b"q":
            query = parse_qsl(text, keep_blank_values=True)
            code = request.read_callback(query, PROVIDER, ATTEMPT)
            assert ("state", "state") in query
            assert ("code", code) in query
        case b"d":
            assert provider.read_provider(rest, ISSUER).issuer == ISSUER
        case b"k":
            assert id_token.read_keys(rest).keys
        case b"t":
            request.read_tokens(200, rest)
            request.read_tokens(400, rest)
        case b"j":
            id_token.verify(
                Tokens(text), KEYS, issuer=ISSUER, client_id="x", nonce="nonce", now=1e9
            )
            raise AssertionError("the key is secret: no input may pass")
        case b"m":
            machine.verify_machine(text, KEYS, issuer=ISSUER, now=1e9)
            raise AssertionError("the key is secret: no input may pass")
        case b"r":
            found = machine.MachineClaims(
                "x", (RULE.audience,), provider.read_object(rest, "claims")
            )
            machine.find_rule(found, [RULE])
            assert found.all["ref"] == "main"
        case b"p":
            assert check_secure_url(machine.read_jwks_uri(rest, ISSUER)) is None
        case _:
            mapped = mapping.map_claims(
                provider.read_object(rest, "claims"), mapping.Rules(group_prefix="")
            )
            assert is_valid_name(mapped.name)
            assert all(is_valid_name(group) for group in mapped.groups or ())
