"""OKEx v1 as a venue of our own: see `venue`."""
