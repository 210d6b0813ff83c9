"""`stagedoor doctor` on a gateway, which checks each part separately and changes nothing."""
