"""`stagedoor doctor` on a gateway: it checks each part separately, and changes nothing."""
