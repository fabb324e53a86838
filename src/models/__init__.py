"""RUN, its parts, the baselines and the authors' released networks."""
