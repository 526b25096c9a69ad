"""`python -m duikou` is the `duikou` command."""

from duikou.cli.main import main

main()
