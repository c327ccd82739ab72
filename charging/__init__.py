"""Operating rules: sites, piles and ports, sessions, commands, meter samples."""
