"""What runs without this package: a program that is copied beside each exported model."""
