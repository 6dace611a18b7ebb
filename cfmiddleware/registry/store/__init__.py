"""The layout of the bucket, and what lies in it."""
