"""OKX v5 as a venue of our own: see `venue`."""
