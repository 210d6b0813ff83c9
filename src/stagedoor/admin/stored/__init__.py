"""The store as a whole: backups, and the move to another database."""
