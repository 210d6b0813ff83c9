"""The home page, the pages to sign in and out, the terminal's page, and the base of all other pages."""
