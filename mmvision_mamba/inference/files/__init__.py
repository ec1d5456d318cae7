"""Files predicted on, and files written of the results: what tools/predict.py does."""
