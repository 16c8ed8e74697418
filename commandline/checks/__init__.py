"""What `rockstar check` checks: one module for each subject, all with findings as their result."""
