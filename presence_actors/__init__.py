"""presence-actors: who is here right now, honest when networks break."""
