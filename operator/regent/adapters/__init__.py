"""The outside world behind the engine's ports, one package a technology."""
