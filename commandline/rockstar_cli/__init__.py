"""The command `rockstar`: argument parsing and output; a file for each command or group of them."""
