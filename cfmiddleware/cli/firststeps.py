"""What ``cfmiddleware`` says when it is called without a command."""

from __future__ import annotations

FIRST_STEPS = """\
cfmiddleware serves container images through CloudFront.

Try it on this machine, with nothing to set up:
  cfmiddleware serve --data ./data              a registry and an edge in CloudFront's place; Ctrl-C ends both

Run it in front of a bucket:
  cfmiddleware keygen --out keys/cloudfront     the key that signs URLs (mkdir keys first)
  cfmiddleware template config.yml              what to deploy at AWS
  cfmiddleware check config.yml                 what does not fit yet, and what mends it
  cfmiddleware serve config.yml                 the registry

When something is wrong:
  cfmiddleware explain --config config.yml URL  why CloudFront answers a signed URL with 403

cfmiddleware --help lists all commands, cfmiddleware COMMAND --help what each takes.
"""
