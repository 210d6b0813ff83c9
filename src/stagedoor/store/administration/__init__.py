"""The rows for administration: the roles, and the API's stored answers."""
