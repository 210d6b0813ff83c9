"""The page of a user's account: credentials, sign-ins, and invitations to set a password."""
