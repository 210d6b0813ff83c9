"""The home page, the pages of runs and requests, and all pages' base, markup, assets and languages."""
