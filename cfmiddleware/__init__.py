"""Serve container images through CloudFront: a WSGI wrapper, a registry and a local edge."""
