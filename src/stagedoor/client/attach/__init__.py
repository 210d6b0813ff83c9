"""`stagedoor attach`: a terminal of the WebShell in a terminal window."""
