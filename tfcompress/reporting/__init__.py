"""Tables, plots, pages and run folders."""
