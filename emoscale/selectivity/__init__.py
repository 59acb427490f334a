"""How well each neuron's differences between concepts match people's differences on each attribute."""
