"""What the logs of the nodes tell when they are read together."""
