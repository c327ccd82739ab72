"""HTTP for operators, properties, sub-merchants and partners."""
