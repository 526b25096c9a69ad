"""Tasks, sessions, media and accounts: what is stored about them and how it changes."""
