"""The load generator of `rockstar bench`: how to ask, whom to ask, and what came of it."""
