"""The audit as a chain of lines, and the places that it is sent to."""
