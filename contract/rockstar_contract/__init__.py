"""What training promises about a model and serving keeps: contract, inputs and preprocessing."""
