"""Plans: a model compiled to a straight list of operations over a few flat arenas, and the runners that walk it."""
