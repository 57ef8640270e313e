"""Other services, as small as they can be; they know Kith by its public contracts only."""
