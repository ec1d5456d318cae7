"""Is every image and annotation of a config's data sound?"""
