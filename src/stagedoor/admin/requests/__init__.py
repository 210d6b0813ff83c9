"""Requests for access: each act over an opened store, and the service that listeners call."""
