"""The store in an SQLite file, with disk space reserved for taking rights away."""
