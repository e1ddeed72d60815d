"""What is missing: continuity of streams, gaps, coverage, refill."""
