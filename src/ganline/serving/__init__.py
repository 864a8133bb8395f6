"""Models in use: from a bundle to images."""
