"""`stagedoor login`: the API for its client, and the page where a user approves the login."""
