"""Data sets in the layouts that people have, and generators that write those layouts."""
