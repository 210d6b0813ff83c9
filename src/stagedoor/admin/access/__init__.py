"""Questions about access, for administrators: who may enter what, why, and what a change would do."""
