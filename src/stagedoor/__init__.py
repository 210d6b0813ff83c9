"""Stagedoor: shells of a PaaS's running apps, by ssh and in the browser.

Nothing is imported here: `stagedoor tunnel` starts on every ssh, and each import costs it time.
"""

__version__ = "0.3.0"
