"""What a unit is: one module for each kind, and the registry that names them."""
