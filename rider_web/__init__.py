"""The rider's mobile pages behind the QR, and their JSON API."""
