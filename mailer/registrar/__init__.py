"""What admins do to the register by hand: add, remove, import, look up, list, export. The command line shows it."""
