"""What models find on images, and how it is drawn."""
