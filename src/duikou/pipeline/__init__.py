"""The two operations of the product: identify the faces of a video, and lip-sync them."""
