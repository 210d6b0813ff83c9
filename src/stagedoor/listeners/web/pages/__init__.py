"""The home page, the base of all pages, and their markup, assets, languages and routes."""
