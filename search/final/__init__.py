"""What follows a search: retraining, confirmation on new seeds, the audit of early stopping."""
