"""OKEx v3 as a venue of our own: see `venue`."""
