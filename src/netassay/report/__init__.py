"""The page: one self-contained HTML file for a run, and the fragment that a notebook shows. Reads Results, no torch."""

from netassay.report.page import render, write_page

__all__ = ["render", "write_page"]
