"""Connection pool, migrations, TimescaleDB, leases."""
