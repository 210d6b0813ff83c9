"""Stagedoor: the crew entrance to a PaaS's running apps.

Nothing is imported here: `stagedoor tunnel` starts on every ssh, and each import costs it time.
"""

__version__ = "0.1.0"
