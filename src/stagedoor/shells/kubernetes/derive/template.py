"""The hash that decides whether a running shell is up to date. Pure."""

import hashlib
import json
from typing import Any


def template_hash(wanted: Any) -> str:
    """Return the hash of a JSON value (32 hex digits). It does not depend on the order of keys."""
    canonical = json.dumps(
        wanted, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
