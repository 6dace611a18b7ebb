"""Where bytes are: one driver protocol, and a module for each driver."""
