"""What a model gets right and wrong on a data set, as one HTML file; fed with predictions."""
