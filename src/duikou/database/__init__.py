"""The database connection, its tables and their migrations."""
