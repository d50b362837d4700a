"""What `make mutants` does: takes out one guard after the other, and sees that its tests fail."""
