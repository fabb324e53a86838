"""Lightning callbacks: checkpoints, resuming, gradients, progress, pictures."""
