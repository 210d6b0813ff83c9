"""The page of a person's own account: what they sign in by, and where they are signed in."""
