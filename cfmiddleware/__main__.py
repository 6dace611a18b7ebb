"""Lets ``python -m cfmiddleware`` be the command."""

import sys

from .cli import main

sys.exit(main())
