"""The `duikou` command. Its modules import heavy packages only inside the commands that need them."""
