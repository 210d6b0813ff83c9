"""Signing in on the web: cookies and forms."""
