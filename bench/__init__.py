"""Measures this project against other ways of making the same report. See README.md."""
