"""What a process shows of itself: metrics, whether it lives and is ready, and traces."""
