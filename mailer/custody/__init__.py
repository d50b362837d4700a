"""What keeps an instance from being lost, altered or taken: backup, restore, upkeep of both, and panic."""
