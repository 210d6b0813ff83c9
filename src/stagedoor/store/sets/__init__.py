"""The rows of the policy that belong to access sets."""
