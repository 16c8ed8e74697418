"""What requests ask of a model, whatever the protocol."""
