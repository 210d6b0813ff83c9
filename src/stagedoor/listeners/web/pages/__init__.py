"""The home page, the pages of runs and requests, the base of all pages, their markup, assets and languages."""
