"""Which models there are, and their versions from loading to unloading."""
