"""`python -m hpdistill.cli`."""

from hpdistill.cli import main

main()
