"""Corrections of who spoke when, and what follows from them."""
