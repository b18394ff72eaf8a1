"""What Regent knows and how it decides: pure values and functions, standard library only."""
