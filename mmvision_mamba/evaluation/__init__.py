"""COCO metric and test-time augmentation; imported by the configs that use them."""
