"""What a result says of itself: the AIGC label, Content Credentials, and on a second file a visible mark."""
