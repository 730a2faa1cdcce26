"""What was asked, checked before any work starts."""
