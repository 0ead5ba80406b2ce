"""The page: one self-contained HTML file per run, and the fragment a notebook shows."""
