"""Simulated payment rails that speak the documented wire formats with real keys."""
