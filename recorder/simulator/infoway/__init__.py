"""Infoway as a venue of our own: see `venue`."""
