"""TLS for clients of the tests' own: a CA that most programs take."""

import ssl
from pathlib import Path


def trusting(ca_file: Path | str) -> ssl.SSLContext:
    """It need not have what Python alone asks for, since 3.13: key identifiers and key usage."""
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
