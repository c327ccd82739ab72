"""Money: tariffs, rating, agreements, split, ledger, payments and refunds."""
