"""The demonstration: three workers and the master on this machine."""
