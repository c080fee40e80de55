"""How fast a search finds how good an answer, beside its peers and beside known optima."""
