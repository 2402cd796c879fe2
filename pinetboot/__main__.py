"""`python -m pinetboot` is the `pinetboot` command."""

from pinetboot.cli import main

main()
