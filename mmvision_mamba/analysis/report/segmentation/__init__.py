"""Label maps held against each other."""
