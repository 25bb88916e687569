"""Whether what is stored is whole and right: gaps, checks of rows, reconciliation. Nothing here changes any data."""
