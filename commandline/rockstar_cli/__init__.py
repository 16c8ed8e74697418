"""The command `rockstar`: a file for each of its commands. Flags in, words out."""
