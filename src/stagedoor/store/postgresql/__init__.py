"""The store on a PostgreSQL server: its transactions, its connections and its errors in plain words."""
