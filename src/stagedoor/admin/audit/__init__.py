"""The audit as a chain of lines, and its sinks."""
