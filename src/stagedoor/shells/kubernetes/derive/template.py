"""The hash by which a running shell is known to be the one wanted, or not. Pure."""

import hashlib
import json
from typing import Any


def template_hash(wanted: Any) -> str:
    """Of a JSON value, the same for every order of keys and on every machine: 32 hex digits."""
    canonical = json.dumps(
        wanted, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
