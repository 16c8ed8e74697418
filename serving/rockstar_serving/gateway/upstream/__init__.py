"""Between the gateway and the model server: what happens to calls on their way, layer by layer."""
