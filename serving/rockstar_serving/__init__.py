"""The gateway, the model server, and the command that starts both."""
