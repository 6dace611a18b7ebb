"""Which clients are near the bucket, so that S3 itself serves them best."""
