"""`ssh gw account` and its siblings: what people sign in by, as they change it themselves by ssh."""
