"""Scripts around the commands: data, benchmarks, weights, pictures, results."""
