"""What a result says about its origin: the AIGC label, Content Credentials, and a visible mark on a second file."""
