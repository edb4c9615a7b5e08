"""One module a measurement, each with a `measure(folder)` that returns its figures."""
