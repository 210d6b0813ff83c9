"""`stagedoor login`: what its client asks, and the page where a person approves."""
