"""`stagedoor doctor HOST` on a developer's machine: the path to a shell, hop by hop."""
