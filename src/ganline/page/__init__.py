"""Pages that say how good a model is: one HTML file each, readable without a network, a server or a script."""
