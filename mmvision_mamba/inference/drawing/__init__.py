"""Results drawn through supervision, with labels that find room in fonts that have them."""
