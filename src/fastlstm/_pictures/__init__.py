"""Pictures of traces: a page for a browser, a figure by matplotlib, strips for a terminal; all of the same overview."""
