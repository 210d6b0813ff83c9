"""Pages: the home page, and what all pages share."""
