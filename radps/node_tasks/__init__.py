"""What runs on a worker: load a chunk, call domain functions, write the chunk, return a small summary."""
