"""The HTTP API `/api/v1` as values: its types, its table of operations, and their description in OpenAPI."""
