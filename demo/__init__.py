"""The bundled master and the demonstration that drives it."""
