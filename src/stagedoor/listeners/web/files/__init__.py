"""Files into a shell and out of it, for the terminal's page."""
