"""`stagedoor doctor` on a gateway: looks at each part by itself, and changes nothing."""
