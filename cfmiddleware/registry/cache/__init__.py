"""The descriptor cache: where blobs are, so that the storage is asked less often."""
