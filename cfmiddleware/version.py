"""The package's version, where setup.cfg and the commands read it."""

__version__ = "0.1.0"
