"""Tests: one file a subject, an oracle that shares no code with the product, and helpers in support.py."""
