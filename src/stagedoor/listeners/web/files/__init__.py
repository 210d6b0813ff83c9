"""Uploads to a shell and downloads from it, for the terminal's page."""
