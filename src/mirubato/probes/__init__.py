"""Active HTTP checks of configured addresses, as series."""
