"""Passkeys in the browser: registered, and asked for where an app wants a proof of presence."""
