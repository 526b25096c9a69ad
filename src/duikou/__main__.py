"""`python -m duikou` is the `duikou` command."""

from duikou.cli import main

main()
