"""Ray itself: started or joined, its nodes, and how files travel between them."""
