"""Storage of files: a local folder or any S3 storage, behind one interface."""
