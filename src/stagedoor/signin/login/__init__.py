"""`stagedoor login` and a key's first login by SSH: a machine gets a sign-in once its user approves."""
