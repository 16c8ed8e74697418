"""What a run is shown as: a report to look at, its figures, and a model card to hand on."""
