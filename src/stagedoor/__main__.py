"""`python -m stagedoor`."""

from stagedoor.cli.main import main

main()
