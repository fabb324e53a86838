"""Scripts beside the commands: data, benchmarks, weights, pictures, results."""
