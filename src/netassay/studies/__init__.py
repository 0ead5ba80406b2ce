"""Studies: one file per question; each resolves, runs, merges and names the axes."""
