"""Signing in on the web: cookies, the API for pages, and single sign-on."""
