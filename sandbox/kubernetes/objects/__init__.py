"""What objects are: their types, defaults, validation and ownership."""
