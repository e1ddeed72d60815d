"""What the recorder says of itself: metrics, health, status."""
