"""The work after a search: retraining, confirmation on new seeds, the audit of early stopping."""
