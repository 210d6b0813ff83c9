"""Access sets: users, groups, grants and request rules that are declared in files."""
