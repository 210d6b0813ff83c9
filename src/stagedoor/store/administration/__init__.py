"""Rows of those who administer: their roles, and the answers of the API."""
