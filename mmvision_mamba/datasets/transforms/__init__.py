"""Transforms of mmdet's and mmseg's pipelines; imported by the configs that use them."""
